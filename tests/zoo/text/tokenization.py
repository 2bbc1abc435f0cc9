"""The zoo's tokenizers, one recipe a family, in the shape of the family's real `tokenizer.json`.

Sources: the `tokenizer.json` files of bert-base-uncased, roberta-base, xlm-roberta-base, camembert-base,
albert-base-v2, mpnet-base, deberta-v3-base, ModernBERT-base and bart-base, less their
character maps (`Precompiled`), which are large.
Both transformers 4.57 (which reads the file as it is) and 5.23 (which rebuilds some families from the vocabulary alone)
give the same ids; `tests/conformance/test_zoo.py` holds them to that.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from zoo import corpus
from zoo.text.synthetic_tokenizer import unigram

SIZE = 1000
MAX_LENGTH = 128

_ROBERTA = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
_BERT = {"sep": "[SEP]", "cls": "[CLS]", "unk": "[UNK]", "pad": "[PAD]", "mask": "[MASK]"}

CLASSES = {
    "bert": "BertTokenizer",
    "distilbert": "DistilBertTokenizer",
    "electra": "ElectraTokenizer",
    "mpnet": "MPNetTokenizer",
    "roberta": "RobertaTokenizer",
    "bart": "BartTokenizer",
    "modernbert": "PreTrainedTokenizerFast",
    "xlm-roberta": "XLMRobertaTokenizer",
    "camembert": "CamembertTokenizer",
    "albert": "AlbertTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
}
"""Family -> `tokenizer_class` as the real checkpoints name it."""

_INPUTS = {"bert": True, "electra": True, "albert": True, "deberta-v2": True}
"""Families whose tokenizer gives `token_type_ids`."""


def save(family: str, folder: Path) -> None:
    """Write `tokenizer.json` and `tokenizer_config.json` of `family` into `folder`."""
    tokenizer, names, extra = _RECIPES[family](family)
    tokenizer.save(str(folder / "tokenizer.json"))
    kinds = ["input_ids", *(["token_type_ids"] if family in _INPUTS else []), "attention_mask"]
    config: dict[str, Any] = {
        **{f"{name}_token": token for name, token in names.items()},
        "clean_up_tokenization_spaces": family in ("bert", "distilbert", "electra", "mpnet", "modernbert"),
        "model_input_names": kinds,
        "model_max_length": MAX_LENGTH,
        "tokenizer_class": CLASSES[family],
        **extra,
    }
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (folder / "tokenizer_config.json").write_text(text, encoding="utf-8")


def special_ids(folder: Path) -> dict[str, int]:
    """`pad_token_id`, `bos_token_id`, `eos_token_id` … of a saved tokenizer (those it has), for the model's config."""
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    config = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
    found = {}
    for name in ("pad", "bos", "eos", "cls", "sep"):
        if f"{name}_token" in config:
            found[f"{name}_token_id"] = tokenizer.token_to_id(config[f"{name}_token"])
    return found


def _special(tokenizer: Tokenizer, names: dict[str, str], *, mask_lstrip: bool) -> None:
    tokens = sorted(set(names.values()), key=lambda token: tokenizer.token_to_id(token) or 0)
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens if t != names["mask"]])
    mask = AddedToken(names["mask"], lstrip=mask_lstrip, special=True, normalized=False)
    tokenizer.add_special_tokens([mask])


def _bert_template(tokenizer: Tokenizer, cls: str = "[CLS]", sep: str = "[SEP]") -> Any:
    ids = [(cls, tokenizer.token_to_id(cls)), (sep, tokenizer.token_to_id(sep))]
    single = f"{cls}:0 $A:0 {sep}:0"
    return processors.TemplateProcessing(single=single, pair=f"{single} $B:1 {sep}:1", special_tokens=ids)


def _bert(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    head = ["[PAD]", *(f"[unused{i}]" for i in range(4)), "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocabulary = corpus.wordpiece(head, [], SIZE, lower=True)
    tokenizer = _wordpiece_tokenizer(vocabulary, "[UNK]")
    _special(tokenizer, _BERT, mask_lstrip=False)
    tokenizer.post_processor = _bert_template(tokenizer)
    return tokenizer, _BERT, {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}


def _wordpiece_tokenizer(vocabulary: list[str], unknown: str) -> Tokenizer:
    table = {token: i for i, token in enumerate(vocabulary)}
    tokenizer = Tokenizer(models.WordPiece(table, unk_token=unknown, max_input_chars_per_word=100))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return tokenizer


def _mpnet(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    names = {**_ROBERTA, "unk": "[UNK]"}
    head = ["<s>", "<pad>", "</s>", "<unk>", *(f"[unused{i}]" for i in range(4)), "[UNK]"]
    tokenizer = _wordpiece_tokenizer(corpus.wordpiece(head, ["<mask>"], SIZE, lower=True), "[UNK]")
    _special(tokenizer, names, mask_lstrip=True)
    sep, cls = ("</s>", tokenizer.token_to_id("</s>")), ("<s>", tokenizer.token_to_id("<s>"))
    tokenizer.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    return tokenizer, names, {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}


def _byte_level(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    vocabulary, learnt = corpus.byte_level(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"], SIZE)
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    _special(tokenizer, _ROBERTA, mask_lstrip=True)
    sep, cls = ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"])
    tokenizer.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    return tokenizer, _ROBERTA, {"add_prefix_space": False, "errors": "replace", "trim_offsets": True}


def _modernbert(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    head, tail = ["<|endoftext|>", "<|padding|>"], ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"]
    vocabulary, learnt = corpus.byte_level(head, [], SIZE - len(tail))
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt))
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in [*head, *tail[:-1]]])
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True, special=True, normalized=False)])
    ids = [(token, tokenizer.token_to_id(token)) for token in ("[CLS]", "[SEP]")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0", pair="[CLS]:0 $A:0 [SEP]:0 $B:0 [SEP]:0", special_tokens=ids
    )
    return tokenizer, _BERT, {}


def _roberta_template(tokenizer: Tokenizer) -> Any:
    ids = [(token, tokenizer.token_to_id(token)) for token in ("<s>", "</s>")]
    single, pair = ["<s>", "$A", "</s>"], ["<s>", "$A", "</s>", "</s>", "$B", "</s>"]
    return processors.TemplateProcessing(single=single, pair=pair, special_tokens=ids)


def _xlm_roberta(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    pieces = corpus.unigram(["<s>", "<pad>", "</s>", "<unk>"], ["<mask>"], SIZE, lower=False)
    tokenizer = unigram(pieces, "<unk>")
    _special(tokenizer, _ROBERTA, mask_lstrip=True)
    tokenizer.post_processor = _roberta_template(tokenizer)
    return tokenizer, _ROBERTA, {}


def _camembert(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    unused = ["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"]
    head = [unused[0], "<pad>", unused[1], "<unk>", unused[2], "<s>", "</s>"]
    pieces = corpus.unigram(head, ["<mask>"], SIZE, lower=False)
    tokenizer = unigram(pieces, "<unk>")
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in unused])
    _special(tokenizer, _ROBERTA, mask_lstrip=True)
    tokenizer.post_processor = _roberta_template(tokenizer)
    return tokenizer, _ROBERTA, {"additional_special_tokens": unused}


def _albert(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    names = {**_BERT, "bos": "[CLS]", "eos": "[SEP]", "unk": "<unk>", "pad": "<pad>"}
    pieces = corpus.unigram(["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], [], SIZE, lower=True)
    tokenizer = unigram(pieces, "<unk>")
    quotes = [normalizers.Replace("``", '"'), normalizers.Replace("''", '"')]
    plain = [normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase()]
    tokenizer.normalizer = normalizers.Sequence([*quotes, *plain])
    _special(tokenizer, names, mask_lstrip=True)
    tokenizer.post_processor = _bert_template(tokenizer)
    return tokenizer, names, {"do_lower_case": True, "keep_accents": False, "remove_space": True}


def _deberta_v2(family: str) -> tuple[Tokenizer, dict[str, str], dict[str, Any]]:
    names = {**_BERT, "bos": "[CLS]", "eos": "[SEP]"}
    pieces = corpus.unigram(["[PAD]", "[CLS]", "[SEP]", "[UNK]"], [], SIZE - 1, lower=False)
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    spaces = normalizers.Replace(Regex(r"\s{2,}|[\n\r\t]"), " ")
    tokenizer.normalizer = normalizers.Sequence([spaces, normalizers.NFC(), normalizers.Strip(left=False, right=True)])
    space = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([space])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    _special(tokenizer, names, mask_lstrip=False)
    tokenizer.post_processor = _bert_template(tokenizer)
    return tokenizer, names, {"do_lower_case": False, "split_by_punct": False}


_RECIPES = {
    "bert": _bert,
    "distilbert": _bert,
    "electra": _bert,
    "mpnet": _mpnet,
    "roberta": _byte_level,
    "bart": _byte_level,
    "modernbert": _modernbert,
    "xlm-roberta": _xlm_roberta,
    "camembert": _camembert,
    "albert": _albert,
    "deberta-v2": _deberta_v2,
}
