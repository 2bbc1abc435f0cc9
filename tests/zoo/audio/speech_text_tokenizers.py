"""The tokenizers of the zoo's models that transcribe, in the files and shapes of real checkpoints.

Sources: those of whisper-tiny and whisper-tiny.en, moonshine-tiny, s2t-small-librispeech-asr (vocab.json and a
sentencepiece model alone) and hf-seamless-m4t-medium.
"""

from __future__ import annotations

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from zoo import corpus
from zoo.text import sentencepiece_tokenizers
from zoo.text.sentencepiece_tokenizers import _sentence_bpe, _spm
from zoo.text.synthetic_tokenizer import SIZE, SyntheticTokenizer, add_marks, starts_with, to_json

END, START = "<|endoftext|>", "<|startoftranscript|>"
_AFTER = ("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>")
_TIMES = tuple(f"<|{step * 0.02:.2f}|>" for step in range(1501))
SEAMLESS_LANGUAGES = ("__eng__", "__fra__", "__deu__", "__spa__")


def whisper_languages() -> list[str]:
    """The tokens of Whisper's 99 languages, in their order."""
    from transformers.models.whisper.tokenization_whisper import LANGUAGES

    return [f"<|{code}|>" for code in list(LANGUAGES)[:99]]


def whisper() -> SyntheticTokenizer:
    """Byte-level BPE, then the marks, then 1,501 times that are not special tokens."""
    marks = [START, *whisper_languages(), *_AFTER]
    vocabulary, learnt = corpus.byte_level([], [END], SIZE)
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, continuing_subword_prefix="", end_of_word_suffix=""))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    add_marks(tokenizer, [END, *marks])
    tokenizer.add_tokens([AddedToken(time, special=False, normalized=True) for time in _TIMES])
    known = [(token, tokenizer.token_to_id(token)) for token in (START, _AFTER[-1], END)]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{START} {_AFTER[-1]} $A {END}", pair=f"{START} {_AFTER[-1]} $A $B:1 {END}:1", special_tokens=known
    )
    config: dict[str, Any] = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "additional_special_tokens": marks,
        "clean_up_tokenization_spaces": True,
        "errors": "replace",
        "model_max_length": 1024,
        "processor_class": "WhisperProcessor",
        "return_attention_mask": False,
        "tokenizer_class": "WhisperTokenizer",
        **dict.fromkeys(("bos_token", "eos_token", "pad_token", "unk_token"), END),
    }
    files = {"normalizer.json": to_json({"colour": "color", "theatre": "theater", "metres": "meters"})}
    return SyntheticTokenizer(config, tokenizer, files)


def moonshine() -> SyntheticTokenizer:
    synthetic = sentencepiece_tokenizers.llama("llama")
    names = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>", "unk_token": "<unk>"}
    config = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False, **names}
    return SyntheticTokenizer(config, synthetic.backend)


def speech_to_text(languages: tuple[str, ...] = ()) -> SyntheticTokenizer:
    """No tokenizer.json: a Unigram model in lower case, and vocab.json in another order; with `languages`, MuST-C's."""
    marks = [f"<lang:{language}>" for language in languages]
    body = corpus.unigram([], [], SIZE - 4 - len(marks), lower=True)
    head = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    order = ["<s>", "<pad>", "</s>", "<unk>", *(piece for piece, _ in body), *marks]
    pieces = [*head, *body, *((mark, 0.0) for mark in marks)]
    files = {
        "sentencepiece.bpe.model": _spm(pieces),
        "vocab.json": to_json({piece: number for number, piece in enumerate(order)}),
    }
    config: dict[str, Any] = {
        "bos_token": "<s>",
        "do_lower_case": True,
        "do_upper_case": False,
        "eos_token": "</s>",
        "lang_codes": "mustc" if marks else None,
        "model_max_length": 1024,
        "pad_token": "<pad>",
        "processor_class": "Speech2TextProcessor",
        "tgt_lang": languages[0] if languages else None,
        "tokenizer_class": "Speech2TextTokenizer",
        "unk_token": "<unk>",
    }
    return SyntheticTokenizer(config, files=files)


def seamless() -> SyntheticTokenizer:
    """SentencePiece's BPE after four marks, then the languages; a text begins with its language and ends with </s>."""
    head = ("<pad>", "<unk>", "<s>", "</s>")
    vocabulary, learnt = _sentence_bpe(head, SIZE - len(SEAMLESS_LANGUAGES))
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    add_marks(tokenizer, [*head, *SEAMLESS_LANGUAGES])
    starts_with(tokenizer, "__eng__")
    names = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>"}
    config = {
        "additional_special_tokens": list(SEAMLESS_LANGUAGES),
        "clean_up_tokenization_spaces": True,
        "processor_class": "SeamlessM4TProcessor",
        "src_lang": "eng",
        "tgt_lang": "fra",
        "tokenizer_class": "SeamlessM4TTokenizer",
        **{f"{name}_token": token for name, token in names.items()},
    }
    return SyntheticTokenizer(config, tokenizer)
