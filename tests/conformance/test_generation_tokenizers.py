"""Tokenizers of generating families against transformers 5: rows, text, text by tokens, languages, pieces."""

from __future__ import annotations

import itertools
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

transformers = pytest.importorskip("transformers")
if int(transformers.__version__.split(".")[0]) < 5:
    pytest.skip("the reference is transformers 5", allow_module_level=True)

from transformers.generation.stopping_criteria import StopStringCriteria  # noqa: E402
from transformers.models.auto.tokenization_auto import (  # noqa: E402
    MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS,
    TOKENIZER_MAPPING_NAMES,
)

from onnxpipe.errors import UnknownArgumentError  # noqa: E402
from onnxpipe.processing.text.families import RENAMED  # noqa: E402
from onnxpipe.processing.text.tokenizer import AutoTokenizer, Tokenizer  # noqa: E402
from onnxpipe_export.tokenizers import convert as exported  # noqa: E402
from zoo.text.generator_tokenizers import save  # noqa: E402

FAST = (
    "gpt2",
    "gpt_neo",
    "gpt_neox",
    "opt",
    "bloom",
    "llama",
    "mistral",
    "qwen2",
    "qwen3",
    "gemma2",
    "gemma3",
    "phi",
    "phi3",
    "smollm3",
    "granite",
    "t5",
    "bart",
    "mbart",
    "pegasus",
    "nllb",
    "blenderbot",
)
"""Families whose files need no conversion."""

SLOW = ("mt5", "marian", "m2m_100")
"""Families that only the exporter makes a tokenizer.json of."""

TEXTS = [
    "The quick brown fox jumps over the lazy dog.",
    "",
    "  two  leading, and trailing \t blanks \n\n ",
    "naïve café — ÀÉÎ 我爱北京 👩‍👩‍👧 🎉",
    "it's , isn't 'm 've do n't ! ?",
    "x<s>y</s> z <pad><unk>[INST] w [/INST]<|im_start|>user\nq<|im_end|>",
]

Both = tuple[Tokenizer, Any]


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Both]:
    """`both(family, **overrides)`: onnxpipe's tokenizer and transformers' of a family's files."""
    root = tmp_path_factory.mktemp("generators")

    def load(family: str, **overrides: Any) -> Both:
        folder = root / family
        if not folder.exists():
            folder.mkdir()
            save(family, folder)
            kind = {"nllb": "m2m_100", "gemma3": "gemma3_text"}.get(family, family)
            (folder / "config.json").write_text(json.dumps({"model_type": kind}))
            if family in SLOW:
                bundle = root / f"{family}-bundle"
                bundle.mkdir()
                exported.write(exported.load(folder), folder, bundle)
        ours = root / f"{family}-bundle" if family in SLOW else folder
        theirs = transformers.AutoTokenizer.from_pretrained(str(folder), **overrides)
        return AutoTokenizer.from_pretrained(ours, **overrides), theirs

    return load


def _rows(tokenizer: Any, *args: Any, **options: Any) -> Any:
    try:
        result = tokenizer(*args, **options)
    except Exception as error:
        return type(error), str(error)
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in result.items()}


def _same(pair: Both, *args: Any, **options: Any) -> None:
    ours, theirs = (_rows(tokenizer, *args, **options) for tokenizer in pair)
    assert ours == theirs, f"{args} {options}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", [*FAST, *SLOW])
def test_rows_and_text(both: Callable[..., Both], family: str) -> None:
    """Rows padded on either side, cut on either side; text as a whole and token by token."""
    ours, theirs = pair = both(family)
    for tokenizer in pair:
        tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    _same(pair, TEXTS)
    for side, cut in itertools.product(("left", "right"), repeat=2):
        for tokenizer in pair:
            tokenizer.padding_side, tokenizer.truncation_side = side, cut
        _same(pair, TEXTS, padding=True, return_tensors="np")
        _same(pair, TEXTS, padding="max_length", truncation=True, max_length=9, return_tensors="np")
        _same(pair, TEXTS, padding=True, add_special_tokens=False, pad_to_multiple_of=8)
    # to transformers 5, M2M100's languages are words (in 4 they are not, nor where a checkpoint lists them)
    alone = family != "m2m_100"
    rows = theirs(TEXTS, padding=True, return_tensors="np", add_special_tokens=alone)["input_ids"]
    for skip, clean in itertools.product((False, True), (None, False, True)):
        options = {"skip_special_tokens": skip, "clean_up_tokenization_spaces": clean}
        for ids in (rows, rows.tolist(), list(rows)):
            assert ours.batch_decode(ids, **options) == theirs.batch_decode(ids, **options)
            assert ours.decode(ids, **options) == theirs.decode(ids, **options)
        for row in rows:
            assert ours.decode(row, **options) == theirs.decode(row, **options)
    for row in rows[[0, 3]]:
        for end in range(len(row)):
            assert ours.decode(row[:end]) == theirs.decode(row[:end]), "what a streamer asks"
            assert ours.decode(row[end]) == theirs.decode(row[end])
            assert ours.decode(int(row[end])) == theirs.decode(int(row[end]))


@pytest.mark.parametrize("family", FAST)
def test_attributes(both: Callable[..., Both], family: str) -> None:
    """What generation needs of a tokenizer."""
    ours, theirs = both(family)
    for name in (
        "model_input_names",
        "model_max_length",
        "padding_side",
        "truncation_side",
        "special_tokens_map",
        "all_special_ids",
        "all_special_tokens",
        "extra_special_tokens",
        "clean_up_tokenization_spaces",
        "bos_token_id",
        "eos_token_id",
        "pad_token_id",
        "unk_token_id",
        "vocab_size",
        "chat_template",
    ):
        assert getattr(ours, name) == getattr(theirs, name), name
    assert len(ours) == len(theirs)
    assert ours.get_vocab() == theirs.get_vocab()


@pytest.mark.parametrize("family", ["gpt2", "llama", "qwen2", "gemma2", "phi", "smollm3"])
def test_begin_and_end_tokens(both: Callable[..., Both], family: str) -> None:
    """Around texts and pairs, where the caller says so."""
    for bos, eos in itertools.product((None, False, True), repeat=2):
        options = {name: value for name, value in (("add_bos_token", bos), ("add_eos_token", eos)) if value is not None}
        pair = both(family, **options)
        _same(pair, TEXTS, return_token_type_ids=True)
        _same(pair, TEXTS[0], TEXTS[3], return_token_type_ids=True)


def test_spaces_of_llama(both: Callable[..., Both]) -> None:
    """Where its `▁` goes, by `legacy` and `add_prefix_space`, whatever tokenizer.json says."""
    for overrides in ({}, {"add_prefix_space": False}, {"add_prefix_space": True}, {"legacy": True}, {"legacy": False}):
        pair = both("llama", **overrides)
        _same(pair, TEXTS)
        _same(pair, TEXTS, add_special_tokens=False)


@pytest.mark.parametrize("family", [*FAST, *SLOW])
def test_pieces(both: Callable[..., Both], family: str) -> None:
    """What each token adds to a text: the clean vocabulary that stop strings are matched against."""
    ours, theirs = both(family)
    if family in SLOW:  # these have no decoder in transformers
        assert len(ours.pieces()) == len(ours)
        return
    mode = StopStringCriteria._get_stop_string_matching_mode(theirs)
    assert ours.piece_kind() == mode
    texts, ids = StopStringCriteria.clean_tokenizer_vocab(theirs, stop_string_matching_mode=mode)
    assert ours.pieces() == {i: text if isinstance(text, bytes) else text.encode() for text, i in zip(texts, ids)}


LANGUAGES = {"mbart": ("en_XX", "fr_XX"), "nllb": ("eng_Latn", "fra_Latn"), "m2m_100": ("en", "fr")}


@pytest.mark.parametrize("family", LANGUAGES)
def test_languages(both: Callable[..., Both], family: str) -> None:
    """Source and target languages: by the loader, by attribute, by the pipelines' helper."""
    first, second = LANGUAGES[family]
    for overrides in ({}, {"src_lang": second, "tgt_lang": first}, {"tgt_lang": second}, {"legacy_behaviour": True}):
        if "legacy_behaviour" in overrides and family != "nllb":
            with pytest.raises(UnknownArgumentError, match="legacy_behaviour"):
                both(family, **overrides)
            continue
        if family == "m2m_100" and "tgt_lang" not in overrides:
            overrides = {**overrides, "tgt_lang": second}  # transformers cannot do without
        ours, theirs = pair = both(family, **overrides)
        _same(pair, TEXTS[:4])
        _same(pair, TEXTS[0], TEXTS[3])
        _same(pair, TEXTS[0], text_target=TEXTS[3])
        _same(pair, TEXTS[:4], text_target=TEXTS[3:0:-1] + TEXTS[:1], padding=True, return_tensors="np")
        _same(pair, TEXTS[0], text_target=TEXTS[0], truncation=True, max_length=7, max_target_length=5)
        _same(pair, text_target=TEXTS[:4], padding=True)
        _same(pair, TEXTS[0], text_target=TEXTS[3], add_special_tokens=False)
        for source, target in itertools.product((first, second), repeat=2):
            for tokenizer in pair:
                tokenizer.src_lang, tokenizer.tgt_lang = source, target
            assert (ours.src_lang, ours.tgt_lang) == (theirs.src_lang, theirs.tgt_lang)
            _same(pair, TEXTS[0], text_target=TEXTS[3])
            options = {"return_tensors": None, "src_lang": target, "tgt_lang": source}
            inputs = [dict(tokenizer._build_translation_inputs(TEXTS[:2], **options)) for tokenizer in pair]
            assert inputs[0] == inputs[1]
            assert ours.src_lang == source, "a pipeline's language is its call's own"
    if family != "nllb":
        assert ours.lang_code_to_id == theirs.lang_code_to_id
    assert ours.get_lang_id(second) == ours.convert_tokens_to_ids(ours.get_lang_token(second))


@pytest.mark.parametrize("family", LANGUAGES)
def test_wrong_languages(both: Callable[..., Both], family: str) -> None:
    """Unknown languages are refused with the nearest (transformers takes the unknown token for most)."""
    ours, _ = both(family)
    first, second = LANGUAGES[family]
    for change in (
        lambda: setattr(ours, "src_lang", "xx"),
        lambda: ours.get_lang_id("xx"),
        lambda: ours._build_translation_inputs("a", src_lang=first, tgt_lang="xx"),
        lambda: AutoTokenizer.from_pretrained(ours.name_or_path, src_lang="xx"),
    ):
        with pytest.raises(ValueError, match="no language 'xx'"):
            change()
    if family != "m2m_100":
        with pytest.raises(ValueError, match=f"did you mean '{first}'"):
            ours.src_lang = "en"
    for missing in ({"src_lang": first}, {"tgt_lang": second}, {}):
        with pytest.raises(ValueError, match="Translation requires a `src_lang` and a `tgt_lang`"):
            ours._build_translation_inputs("a", **missing)


def test_tokenizers_without_languages(both: Callable[..., Both]) -> None:
    """They have none of it, and pipelines can check that."""
    ours, _ = both("gpt2")
    for name in ("_build_translation_inputs", "src_lang", "lang_code_to_id"):
        assert not hasattr(ours, name)
    assert ours.supported_language_codes == []
    with pytest.raises(UnknownArgumentError, match="src_lang"):
        both("gpt2", src_lang="en_XX")
    _same(both("gpt2"), TEXTS[0], text_target=TEXTS[3])


def test_languages_of_threads(both: Callable[..., Both]) -> None:
    """Threads that share a tokenizer and set different languages do not disturb each other."""
    ours, _ = both("nllb")
    wanted = {
        lang: ours._build_translation_inputs(TEXTS[:4], src_lang=lang, tgt_lang="eng_Latn")["input_ids"]
        for lang in ("eng_Latn", "fra_Latn", "deu_Latn", "rus_Cyrl")
    }
    wrong: list[str] = []

    def work(lang: str) -> None:
        rows = (ours._build_translation_inputs(TEXTS[:4], src_lang=lang, tgt_lang="eng_Latn") for _ in range(150))
        wrong.extend(lang for one in rows if one["input_ids"] != wanted[lang])

    threads = [threading.Thread(target=work, args=(lang,)) for lang in wanted for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_marian(both: Callable[..., Both], tmp_path: Path) -> None:
    """Generated texts are split by a model of their own; that survives saving and copying."""
    ours, theirs = both("marian")
    targets = ["a cat", TEXTS[2], "dog."]
    _same((ours, theirs), TEXTS[:3], text_target=targets)
    ours.save_pretrained(tmp_path)
    again = Tokenizer.from_folder(tmp_path)
    assert again(TEXTS, text_target=TEXTS).data == ours(TEXTS, text_target=TEXTS).data
    assert (tmp_path / "target_tokenizer.json").is_file()


def test_saved_languages(both: Callable[..., Both], tmp_path: Path) -> None:
    """A saved tokenizer knows the languages it had."""
    for family, (first, second) in LANGUAGES.items():
        ours, _ = both(family)
        ours.src_lang, ours.tgt_lang = second, first
        ours.save_pretrained(tmp_path / family)
        again = Tokenizer.from_folder(tmp_path / family)
        assert (again.src_lang, again.tgt_lang) == (second, first)
        assert again(TEXTS[:4]).data == ours(TEXTS[:4]).data
        assert again.backend_tokenizer.encode("a").ids == again("a")["input_ids"], "the file itself says so too"
        assert again(TEXTS[:4], text_target=TEXTS[:4]).data == ours(TEXTS[:4], text_target=TEXTS[:4]).data


@pytest.mark.parametrize("model_type", sorted(RENAMED.keys() - {"style_text_to_speech_2"}))  # Kokoro's type
def test_the_table_of_renamed_classes(model_type: str) -> None:
    """Model types for which transformers does not believe the files' class."""
    registered = TOKENIZER_MAPPING_NAMES[model_type]
    assert registered == (RENAMED[model_type] or "TokenizersBackend")
    assert RENAMED[model_type] is None or model_type in MODELS_WITH_INCORRECT_HUB_TOKENIZER_CLASS
