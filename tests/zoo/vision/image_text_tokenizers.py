"""The tokenizers of models of images and text: CLIP's, SigLIP's, Gemma's as SigLIP 2 has it, BERT's."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from zoo import corpus
from zoo.text import sentencepiece_tokenizers, tokenization
from zoo.text.synthetic_tokenizer import SIZE, SyntheticTokenizer, add_marks, to_json

_CLIP_WORDS = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""


def save(family: str, folder: Path) -> dict[str, int]:
    """Write the tokenizer of `family`, if it has one; returns the size of its vocabulary and its special ids."""
    if family not in _RECIPES:
        return {}
    return _RECIPES[family](family, folder)


def _bert(family: str, folder: Path) -> dict[str, int]:
    tokenization.save("bert", folder)
    return {"vocab_size": SIZE, "pad_token_id": tokenization.special_ids(folder)["pad_token_id"]}


def _bert_places(family: str, folder: Path) -> dict[str, int]:
    """bert-base-uncased's with its own ids of the marks and of "." and "?", which Grounding DINO knows by number."""
    marks = {0: "[PAD]", 100: "[UNK]", 101: "[CLS]", 102: "[SEP]", 103: "[MASK]", 1012: ".", 1029: "?"}
    size = 1100
    words = [word for word in corpus.wordpiece([], [], size, lower=True) if word not in marks.values()]
    spare = iter([*words, *(f"[unused{i}]" for i in range(size))])
    unused = iter(f"[unused{i}]" for i in range(size, 2 * size))
    vocabulary = [marks.get(place) or next(unused if place < 104 else spare) for place in range(size)]
    tokenization.save("bert", folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text("utf-8"))
    content["model"]["vocab"] = {token: place for place, token in enumerate(vocabulary)}
    for token in content["added_tokens"]:
        token["id"] = vocabulary.index(token["content"])
    for token in content["post_processor"]["special_tokens"].values():
        token["ids"] = [vocabulary.index(token["id"])]
    path.write_bytes(to_json(content))
    return {"vocab_size": size, "pad_token_id": 0}


def _write(synthetic: SyntheticTokenizer, folder: Path) -> dict[str, int]:
    backend = synthetic.backend
    assert backend is not None
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_bytes(to_json(synthetic.config))
    ids = {
        f"{name}_id": backend.token_to_id(synthetic.config[name]) for name in ("pad_token", "bos_token", "eos_token")
    }
    return {"vocab_size": backend.get_vocab_size(with_added_tokens=True), **ids}


def _clip(family: str, folder: Path) -> dict[str, int]:
    """openai/clip-vit-base-patch32's; OWL-ViT pads with "!", the token 0, to 16 tokens."""
    start, end = "<|startoftext|>", "<|endoftext|>"
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    letters = [*alphabet, *(f"{letter}</w>" for letter in alphabet)]
    learnt = corpus.learn(_ended_words(), SIZE - len(letters) - 2)
    pairs = [(_ended(left), _ended(right)) for left, right in learnt]
    table = dict.fromkeys(["!", *letters, *("".join(pair) for pair in pairs), start, end])
    vocabulary = {token: i for i, token in enumerate(table)}
    tokenizer = Tokenizer(
        models.BPE(vocabulary, pairs, continuing_subword_prefix="", end_of_word_suffix="</w>", unk_token=end)
    )
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    cut = pre_tokenizers.Split(Regex(_CLIP_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.decoder = decoders.ByteLevel()
    add_marks(tokenizer, [start, end])
    last, first = (end, vocabulary[end]), (start, vocabulary[start])
    tokenizer.post_processor = processors.RobertaProcessing(last, first, trim_offsets=False, add_prefix_space=False)
    config = {
        "add_prefix_space": False,
        "bos_token": start,
        "clean_up_tokenization_spaces": False,
        "do_lower_case": True,
        "eos_token": end,
        "errors": "replace",
        "model_max_length": 16 if family.startswith("owl") else 32,
        "pad_token": "!" if family.startswith("owl") else end,
        "tokenizer_class": "CLIPTokenizer",
        "unk_token": end,
    }
    return _write(SyntheticTokenizer(config, tokenizer), folder)


_LAST = 0xE000
"""Added to the code of a word's last letter while merges are learnt, so that it is a symbol of its own."""


def _ended_words() -> Mapping[str, int]:
    """The corpus's words in lower case and in bytes' letters, the last letter marked."""
    cut = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    counts: Counter[str] = Counter()
    for word, number in corpus.words(True).items():
        ((spelt, _),) = cut.pre_tokenize_str(word)
        counts[spelt[:-1] + chr(_LAST + ord(spelt[-1]))] += number
    return counts


def _ended(symbol: str) -> str:
    """The symbol with the mark written out, as CLIP does."""
    return symbol if ord(symbol[-1]) < _LAST else f"{symbol[:-1]}{chr(ord(symbol[-1]) - _LAST)}</w>"


def _siglip(family: str, folder: Path) -> dict[str, int]:
    """google/siglip-base-patch16-224's: a sentencepiece model alone, of texts in lower case and without punctuation."""
    pieces = corpus.unigram(["<pad>", "</s>", "<unk>"], [], SIZE, lower=True)
    (folder / "spiece.model").write_bytes(sentencepiece_tokenizers.spiece(pieces))
    config = {
        "clean_up_tokenization_spaces": True,
        "do_lower_case": True,
        "eos_token": "</s>",
        "model_input_names": ["input_ids"],
        "model_max_length": 64,
        "pad_token": "</s>",
        "processor_class": "SiglipProcessor",
        "sp_model_kwargs": {},
        "tokenizer_class": "SiglipTokenizer",
        "unk_token": "<unk>",
    }
    (folder / "tokenizer_config.json").write_bytes(to_json(config))
    return {"vocab_size": len(pieces), "pad_token_id": 1, "bos_token_id": 1, "eos_token_id": 1}


def _siglip2(family: str, folder: Path) -> dict[str, int]:
    """google/siglip2-base-patch16-naflex's: Gemma's in lower case, an end and no beginning, no mask."""
    synthetic = sentencepiece_tokenizers.gemma("gemma2")
    backend = synthetic.backend
    assert backend is not None
    backend.normalizer = normalizers.Sequence([normalizers.Lowercase(), normalizers.Replace(" ", "▁")])
    known = [("<eos>", backend.token_to_id("<eos>"))]
    backend.post_processor = processors.TemplateProcessing(
        single="$A:0 <eos>:0", pair="$A:0 <eos>:0 $B:1 <eos>:1", special_tokens=known
    )
    changes = {
        "add_bos_token": False,
        "add_eos_token": True,
        "do_lower_case": True,
        "model_input_names": ["input_ids"],
        "model_max_length": 64,
        "padding_side": "right",
    }
    return _write(SyntheticTokenizer({**synthetic.config, **changes}, backend), folder)


_RECIPES: Mapping[str, Callable[[str, Path], dict[str, int]]] = {
    "clip": _clip,
    "oneformer": _clip,
    "owlvit": _clip,
    "owlv2": _clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "align": _bert,
    "chinese_clip": _bert,
    "grounding-dino": _bert_places,
}
