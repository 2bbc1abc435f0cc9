"""Tokenizers that exist only as sentencepiece models become a tokenizer.json that splits and joins the same."""

from __future__ import annotations

import json
import random
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest

transformers = pytest.importorskip("transformers")
sentencepiece = pytest.importorskip("sentencepiece")

from onnxpipe.errors import ExportError  # noqa: E402
from onnxpipe_export.cases.text import SENTENCES  # noqa: E402
from onnxpipe_export.tokenizers import convert as tokenizer_module  # noqa: E402
from onnxpipe_export.tokenizers.sentencepiece import SentencePieceModel  # noqa: E402
from onnxpipe_export.tokenizers.slow import backends  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

FRENCH = (
    "Le comité a approuvé le budget malgré de fortes objections, et personne n'en fut étonné.",
    "Où est passée la sœur du garçon ? Elle a mangé un œuf à la crème brûlée.",
    "Deux jeunes hommes sont dehors près de nombreux buissons, pendant qu'un chien court dans la neige.",
    "L'été dernier, ça n'allait pas très bien ; aujourd'hui tout va mieux.",
)
ODD = (
    "cœur œ ŒUVRE", "a | b || c|d |", "é è ée éè", "😀😃 🙁 🙁🙁 œ🙁", "ﬁne ﬂat ① ½ ㎏ ℃ ™ ＦＵＬＬ　ｗｉｄｔｈ",
    "  two  blanks \t tab\nline ", "e\u0301 A\u030a 𝔜", "中文字符，日本語", "\ue000x \ue001y \ue004œ",
    "<unk> </s> <pad> x</s>y", "",
)  # fmt: skip


def train(path: Path, texts: Any, **options: Any) -> Path:
    """A sentencepiece model of `texts`."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_prefix=str(path), hard_vocab_limit=False, minloglevel=2,
        **{"vocab_size": 160, "character_coverage": 1.0, **options},
    )  # fmt: skip
    path.with_suffix(".vocab").unlink()
    return path.with_suffix(".model")


def pieces(path: Path) -> list[str]:
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    found = (processor.id_to_piece(number) for number in range(processor.get_piece_size()))
    return [piece for piece in found if piece not in ("<s>", "</s>", "<unk>", "<pad>")]


def write_config(folder: Path, kind: str, **settings: Any) -> Path:
    (folder / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """source.spm (English) and target.spm (French)."""
    folder = tmp_path_factory.mktemp("sides")
    for name, texts in (("source", SENTENCES), ("target", FRENCH)):
        train(folder / name, [*texts, "a | b |c"]).rename(folder / f"{name}.spm")
    return folder


def marian(sides: Path, folder: Path, codes: tuple[str, ...] = (), separate: bool = False) -> Path:
    """A Marian tokenizer's files; the vocabulary lacks some pieces of the source's model."""
    folder.mkdir()
    found = {}
    for name in ("source", "target"):
        shutil.copyfile(sides / f"{name}.spm", folder / f"{name}.spm")
        found[name] = [piece for piece in pieces(folder / f"{name}.spm") if "|" not in piece]
    both = sorted({*found["source"], *found["target"], "œ🙁"})
    lists = {"vocab.json": found["source"], "target_vocab.json": found["target"]} if separate else {"vocab.json": both}
    for name, words in lists.items():
        ordered = ["</s>", "<unk>", "<pad>", *words, *codes]
        (folder / name).write_text(json.dumps({word: number for number, word in enumerate(ordered)}))
    return write_config(folder, "marian", source_lang="en", target_lang="fr", separate_vocabs=separate)


def check(folder: Path, output: Path) -> tuple[Any, Any]:
    """Write and verify; returns the original and what the runtime loads."""
    from onnxpipe import AutoTokenizer

    original = tokenizer_module.load(folder)
    output.mkdir()
    tokenizer_module.write(original, folder, output)
    assert tokenizer_module.verify(original, folder, output).texts > 100
    return original, AutoTokenizer.from_pretrained(str(output))


@pytest.mark.parametrize("separate", [False, True])
def test_marian_splits_and_joins_both_sides(sides: Path, tmp_path: Path, separate: bool) -> None:
    original, ours = check(marian(sides, tmp_path / "model", separate=separate), tmp_path / "out")
    for text in (*ODD, *SENTENCES, *FRENCH):
        assert list(ours(text)["input_ids"]) == original(text)["input_ids"], text
        expected = original(text_target=text)["input_ids"]
        assert list(ours(text_target=text)["input_ids"]) == expected, text
        for skip in (True, False):
            assert ours.decode(expected, skip_special_tokens=skip) == original.decode(
                expected, skip_special_tokens=skip
            )


def test_marian_knows_target_languages(sides: Path, tmp_path: Path) -> None:
    folder = marian(sides, tmp_path / "model", codes=(">>fra<<", ">>deu<<"))
    original, ours = check(folder, tmp_path / "out")
    for text in (">>fra<< We love this!", ">>deu<<We love this!", ">>fra<<"):
        assert list(ours(text)["input_ids"]) == original(text)["input_ids"]
    ids = original(">>fra<< We love this!")["input_ids"]
    assert ours.decode(ids, skip_special_tokens=True) == original.decode(ids, skip_special_tokens=True)


def test_a_piece_of_the_other_side_is_never_found_in_a_text(sides: Path, tmp_path: Path) -> None:
    folder = marian(sides, tmp_path / "model")
    built = backends(tokenizer_module.load(folder), folder)
    own = set(pieces(folder / "source.spm"))
    ids = json.loads((folder / "vocab.json").read_text())
    foreign = {number for piece, number in ids.items() if piece not in own and piece not in ("</s>", "<unk>", "<pad>")}
    words, known = {number: piece for piece, number in ids.items()}, set("".join(own))
    for number in foreign:
        text = f"a{words[number].replace('▁', '')}a"
        for found in set(built.source.encode(text).ids) & foreign:
            assert not set(words[found]) & known, text  # a run of characters that the model does not know
    assert built.target is not None


@pytest.mark.parametrize("kind", ["unigram", "bpe"])
def test_m2m100_with_its_languages(tmp_path: Path, kind: str) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    model = train(folder / "x", SENTENCES, model_type=kind).rename(folder / "sentencepiece.bpe.model")
    ordered = ["<s>", "<pad>", "</s>", "<unk>", *pieces(model)]
    (folder / "vocab.json").write_text(json.dumps({word: number for number, word in enumerate(ordered)}))
    write_config(folder, "m2m_100", tokenizer_class="M2M100Tokenizer", src_lang="en", tgt_lang="fr")
    original, ours = check(folder, tmp_path / "out")
    assert ours.get_lang_id("fr") == original.get_lang_id("fr")
    for text in (*ODD, *FRENCH):
        assert list(ours(text)["input_ids"]) == original(text)["input_ids"], text
        assert list(ours(text_target=text)["input_ids"]) == original(text_target=text)["input_ids"], text
    ids = original(SENTENCES[0])["input_ids"]
    assert ours.decode(ids) == original.decode(ids)


@pytest.mark.parametrize(
    ("kind", "name", "file", "options"),
    [
        ("t5", "T5Tokenizer", "spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
        ("mt5", "T5Tokenizer", "spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
        ("pegasus", "PegasusTokenizer", "spiece.model", {"pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}),
        ("mbart", "MBartTokenizer", "sentencepiece.bpe.model", {}),
        ("mbart", "MBart50Tokenizer", "sentencepiece.bpe.model", {}),
    ],
)
def test_folders_with_only_a_sentencepiece_model(
    tmp_path: Path, kind: str, name: str, file: str, options: dict[str, Any]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    train(folder / "x", SENTENCES, **options).rename(folder / file)
    check(write_config(folder, kind, tokenizer_class=name), tmp_path / "out")


def test_characters_are_mapped_as_sentencepiece_does(sides: Path, tmp_path: Path) -> None:
    folder = marian(sides, tmp_path / "model")
    backend = backends(tokenizer_module.load(folder), folder).source
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    source = random.Random(5)
    # not those that have a form of their own and one with the accent: sentencepiece takes the longest rule
    letters = [chr(code) for code in range(0x20, 0x250) if unicodedata.normalize("NFKC", chr(code)) == chr(code)]
    others = [
        chr(code) for low, high in ((0x2100, 0x2200), (0xFF00, 0xFF5C), (0x1D400, 0x1D500)) for code in range(low, high)
    ]
    marks = [chr(code) for code in range(0x300, 0x310)]
    for _ in range(2000):
        parts = [source.choice(letters) + source.choice(marks) + source.choice("xyz") + source.choice(others)]
        text = "a" + "".join(parts).replace("|", "") + "a"
        got = "".join(c for c in backend.normalizer.normalize_str(text) if not "\ue000" <= c <= "\ue004")
        assert got == processor.normalize(text), ascii(text)


@pytest.mark.parametrize(
    "text",
    [
        "Ti\u1ebfng Vi\u1ec7t l\xe0 ng\xf4n ng\u1eef",
        "\ud55c\uad6d\uc5b4 \uac01",
        "caf\xe9\u0301 \u01fb",
        "\u30ac\u30d1 \u30f4",
        "\u0645\u064f\u062d\u064e\u0645\u0651\u064e\u062f \u05e9\u05c1\u05bc\u05b8",
        "\ufb01\u0301 x\xb2\u0301",
        "e\u0302\u0323 e\u0323\u0302 \xea\u0301 \xd5\u0301",
        "\u0995\u09c7\u09be \u0915\u093c",
        "c\u0327\u0301 i\u0307\u0301",
        "\uff76\uff9e\uff77\uff9e\uff8a\uff9f",
        "".join(chr(kana) + mark for kana in range(0xFF66, 0xFF9E) for mark in "\u3099\u309a"),
        "x\uff76\u3099y \uff76\u3099\u3099 \uff76\u0301\u3099",
    ],
)
@pytest.mark.parametrize("form", [None, "NFD", "NFC"])
def test_decomposed_letters_lose_no_accent(sides: Path, tmp_path: Path, text: str, form: Any) -> None:
    """Texts of macOS and of PDF files often have letters and accents as characters of their own."""
    folder = marian(sides, tmp_path / "model")
    backend = backends(tokenizer_module.load(folder), folder).source
    processor = sentencepiece.SentencePieceProcessor(model_file=str(folder / "source.spm"))
    given = text if form is None else unicodedata.normalize(form, text)
    got = "".join(c for c in backend.normalizer.normalize_str(given) if not "\ue000" <= c <= "\ue004")
    assert got == processor.normalize(given)


def test_what_has_no_form_says_so(tmp_path: Path) -> None:
    (tmp_path / "bad.spm").write_bytes(b"not a model")
    with pytest.raises(ExportError, match="not a sentencepiece model"):
        SentencePieceModel.load(tmp_path / "bad.spm")
    train(tmp_path / "words", SENTENCES, model_type="word")
    with pytest.raises(ExportError, match="Unigram and BPE"):
        SentencePieceModel.load(tmp_path / "words.model")


def test_the_configuration_is_in_the_form_of_all_libraries(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    backend = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "<unk>": 2, "a": 3, "<x>": 4}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    backend.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    source, folder = tmp_path / "source", tmp_path / "bundle"
    folder.mkdir()
    original = transformers.PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>", extra_special_tokens=["<x>"]
    )
    original.chat_template = "{{ messages[0].content }}"
    original.save_pretrained(source)
    config = json.loads((source / "tokenizer_config.json").read_text())
    assert config["tokenizer_class"] == "TokenizersBackend"
    del config["unk_token"]  # only tokenizer.json has it
    (source / "tokenizer_config.json").write_text(json.dumps(config))
    tokenizer = tokenizer_module.load(source)
    tokenizer.unk_token = "<unk>"
    tokenizer_module.write(tokenizer, source, folder)
    tokenizer_module.verify(tokenizer, source, folder)
    written = json.loads((folder / "tokenizer_config.json").read_text())
    wanted = {
        "tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "</s>", "unk_token": "<unk>",
        "additional_special_tokens": ["<x>"], "add_bos_token": True, "add_eos_token": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "clean_up_tokenization_spaces": False, "chat_template": "{{ messages[0].content }}",
    }  # fmt: skip
    assert {name: written.get(name) for name in wanted} == wanted
    assert "extra_special_tokens" not in written


def test_the_special_tokens_of_marian_are_written(sides: Path, tmp_path: Path) -> None:
    source = marian(sides, tmp_path / "source")
    (tmp_path / "bundle").mkdir()
    tokenizer_module.write(tokenizer_module.load(source), source, tmp_path / "bundle")
    written = json.loads((tmp_path / "bundle/tokenizer_config.json").read_text())
    assert [written[f"{role}_token"] for role in ("pad", "eos", "unk")] == ["<pad>", "</s>", "<unk>"]
    assert written["tokenizer_class"] == "MarianTokenizer"
