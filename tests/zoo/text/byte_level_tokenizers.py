"""Tokenizers of byte-level BPE, in the shapes of GPT-2's, GPT-NeoX's, OPT's, BLOOM's, Qwen2's, Phi-2's, Llama 3's,
Granite's, BART's and Blenderbot's."""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from zoo import corpus
from zoo.text.synthetic_tokenizer import SIZE, SyntheticTokenizer, add_marks, added_tokens, to_json

_END = "<|endoftext|>"
_GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
_QWEN = _GPT4.replace(r"\p{N}{1,3}", r"\p{N}")
_BLOOM = r" ?[^(\s|[.,!?…。，、।۔،])]+"


def _byte_level_bpe(head: list[str], tail: list[str], *, split: str | None = None, nfc: bool = False) -> Tokenizer:
    """GPT-2's cut of the words, or `split`."""
    vocabulary, learnt = corpus.byte_level(head, tail, SIZE)
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, continuing_subword_prefix="", end_of_word_suffix=""))
    if nfc:
        tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if split is not None:
        cut = pre_tokenizers.Split(Regex(split), behavior="isolated", invert=False)
        bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=False, trim_offsets=False)
    add_marks(tokenizer, [*head, *tail])
    return tokenizer


def gpt2(family: str) -> SyntheticTokenizer:
    tokenizer = _byte_level_bpe([], [_END])
    names = {f"{name}_token": _END for name in ("bos", "eos", "unk")}
    return SyntheticTokenizer({"add_prefix_space": False, "tokenizer_class": "GPT2Tokenizer", **names}, tokenizer)


def gpt_neox(family: str) -> SyntheticTokenizer:
    tokenizer = _byte_level_bpe([_END, "<|padding|>"], [], nfc=True)
    names = {f"{name}_token": _END for name in ("bos", "eos", "unk")}
    return SyntheticTokenizer({"add_prefix_space": False, "tokenizer_class": "GPTNeoXTokenizer", **names}, tokenizer)


def opt(family: str) -> SyntheticTokenizer:
    """Slow files alone, as facebook/opt-125m."""
    vocabulary, learnt = corpus.byte_level(["<s>", "<pad>", "</s>", "<unk>"], [], SIZE)
    merges = "".join(f"{left} {right}\n" for left, right in learnt)
    files = {"vocab.json": to_json(vocabulary), "merges.txt": f"#version: 0.2\n{merges}".encode()}
    token = {"__type": "AddedToken", "lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    names = {"bos": "</s>", "eos": "</s>", "unk": "</s>", "pad": "<pad>"}
    config = {
        "add_bos_token": True,
        "add_prefix_space": False,
        "errors": "replace",
        "special_tokens_map_file": None,
        "tokenizer_class": "GPT2Tokenizer",
        **{f"{name}_token": {**token, "content": content} for name, content in names.items()},
    }
    return SyntheticTokenizer(config, files=files)


def bloom(family: str) -> SyntheticTokenizer:
    tokenizer = _byte_level_bpe(["<unk>", "<s>", "</s>", "<pad>"], [], split=_BLOOM)
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
    config = {"add_prefix_space": False, "padding_side": "left", "tokenizer_class": "BloomTokenizerFast", **names}
    return SyntheticTokenizer(config, tokenizer)


def qwen(family: str) -> SyntheticTokenizer:
    tail = [_END, "<|im_start|>", "<|im_end|>"]
    tokenizer = _byte_level_bpe([], tail, split=_QWEN, nfc=True)
    config: dict[str, Any] = {
        "add_prefix_space": False,
        "added_tokens_decoder": added_tokens(tokenizer),
        "additional_special_tokens": tail[1:],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "pad_token": _END,
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    return SyntheticTokenizer(config, tokenizer)


def phi(family: str) -> SyntheticTokenizer:
    tokenizer = _byte_level_bpe([], [_END])
    names = {f"{name}_token": _END for name in ("bos", "eos", "unk")}
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": added_tokens(tokenizer),
        "clean_up_tokenization_spaces": True,
        "return_token_type_ids": False,
        "tokenizer_class": "CodeGenTokenizer",
        **names,
    }
    return SyntheticTokenizer(config, tokenizer)


def smollm3(family: str) -> SyntheticTokenizer:
    """Llama 3's: whole words of the vocabulary need no merges."""
    tail = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<think>", "</think>"]
    vocabulary, learnt = corpus.byte_level([], tail, SIZE)
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, ignore_merges=True))
    cut = pre_tokenizers.Split(Regex(_GPT4), behavior="isolated", invert=False)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([cut, bytes_])
    tokenizer.decoder = decoders.ByteLevel()
    add_marks(tokenizer, tail[:4])
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tail[4:]])
    tokenizer.post_processor = processors.ByteLevel(add_prefix_space=True, trim_offsets=False)
    config = {
        "added_tokens_decoder": added_tokens(tokenizer),
        "bos_token": None,
        "clean_up_tokenization_spaces": True,
        "eos_token": "<|im_end|>",
        "fast": False,
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": "<|im_end|>",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    return SyntheticTokenizer(config, tokenizer)


def granite(family: str) -> SyntheticTokenizer:
    head = [_END, "<fim_prefix>", "<fim_middle>", "<fim_suffix>", "<fim_pad>"]
    tail = ["<|start_of_role|>", "<|end_of_role|>"]
    tokenizer = _byte_level_bpe(head, tail)
    digits = pre_tokenizers.Digits(individual_digits=True)
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, bytes_])
    names = {f"{name}_token": _END for name in ("bos", "eos", "unk", "pad")}
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added_tokens(tokenizer),
        "additional_special_tokens": tail,
        "clean_up_tokenization_spaces": True,
        "errors": "replace",
        "padding_side": "left",
        "tokenizer_class": "GPT2Tokenizer",
        **names,
    }
    return SyntheticTokenizer(config, tokenizer)


def bart(family: str) -> SyntheticTokenizer:
    head = ["<s>", "<pad>", "</s>", "<unk>"]
    vocabulary, learnt = corpus.byte_level(head, ["<mask>"], SIZE)
    prefix = family == "blenderbot"
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    tokenizer.decoder = decoders.ByteLevel()
    add_marks(tokenizer, head)
    add_marks(tokenizer, ["<mask>"], lstrip=True)
    names = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>", "mask": "<mask>"}
    if prefix:
        known = [("</s>", vocabulary["</s>"])]
        tokenizer.post_processor = processors.TemplateProcessing(
            single="$A:0 </s>:0", pair="$A:0 </s>:0 $B:0 </s>:0", special_tokens=known
        )
    else:
        sep, cls = ("</s>", vocabulary["</s>"]), ("<s>", vocabulary["<s>"])
        tokenizer.post_processor = processors.RobertaProcessing(sep, cls, trim_offsets=True, add_prefix_space=False)
    config = {
        "add_prefix_space": prefix,
        "errors": "replace",
        "tokenizer_class": "BlenderbotTokenizer" if prefix else "BartTokenizer",
        **{f"{name}_token": token for name, token in names.items()},
    }
    return SyntheticTokenizer(config, tokenizer)
