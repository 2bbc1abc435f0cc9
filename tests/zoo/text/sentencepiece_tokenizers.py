"""Tokenizers of SentencePiece: its BPE (Llama 2, Mistral, Phi-3, Gemma, NLLB, M2M-100), its Unigram (T5, mT5, mBART,
Pegasus, Marian), and the model files of the families whose checkpoints have nothing else."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from zoo import corpus
from zoo.text.synthetic_tokenizer import (
    SIZE,
    SyntheticTokenizer,
    add_marks,
    added_tokens,
    starts_with,
    to_json,
    unigram,
)

_END = "<|endoftext|>"


@cache
def _sentence_bpe(head: tuple[str, ...], size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """`head`, characters, merged pieces: a vocabulary of SentencePiece's BPE, and its merges."""
    counts = Counter({f"▁{word}": n for word, n in corpus.words(False).items()})
    characters = sorted(set("".join(counts)) | set(corpus.ALWAYS))
    learnt: list[tuple[str, str]] = []
    table = dict.fromkeys([*head, *characters])
    for pair in corpus.learn(counts, size):
        if len(table) < size:
            learnt.append(pair)
            table["".join(pair)] = None
    return {piece: i for i, piece in enumerate(table)}, learnt


BYTES = tuple(f"<0x{i:02X}>" for i in range(256))
_SPACES = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]


def llama(family: str) -> SyntheticTokenizer:
    """TinyLlama's (pads with </s>), Mistral's (no padding token) and Phi-3's (chat marks after the vocabulary)."""
    vocabulary, learnt = _sentence_bpe(("<unk>", "<s>", "</s>", *BYTES), SIZE)
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence([*_SPACES, decoders.Strip(content=" ", left=1, right=0)])
    add_marks(tokenizer, ["<unk>", "<s>", "</s>"])
    starts_with(tokenizer, "<s>")
    config: dict[str, Any] = {
        "add_bos_token": True,
        "add_eos_token": False,
        "bos_token": "<s>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "</s>",
        "legacy": family != "llama",
        "sp_model_kwargs": {},
        "tokenizer_class": "LlamaTokenizer",
        "unk_token": "<unk>",
    }
    if family == "llama":
        config |= {"pad_token": "</s>", "padding_side": "right"}
    if family == "phi3":
        add_marks(tokenizer, [_END])
        marks = ["<|assistant|>", "<|system|>", "<|end|>", "<|user|>"]
        add_marks(tokenizer, marks, rstrip=True)
        config |= {"pad_token": _END, "eos_token": _END, "padding_side": "left", "add_bos_token": False}
        tokenizer.post_processor = processors.TemplateProcessing(single="$A:0", pair="$A:0 $B:1", special_tokens=[])
    return SyntheticTokenizer({"added_tokens_decoder": added_tokens(tokenizer), **config}, tokenizer)


def gemma(family: str) -> SyntheticTokenizer:
    marks = ["<start_of_turn>", "<end_of_turn>"]
    head = ("<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *marks, *BYTES)
    vocabulary, learnt = _sentence_bpe(head, SIZE)
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", behavior="merged_with_previous", invert=False)
    tokenizer.decoder = decoders.Sequence([*_SPACES])
    add_marks(tokenizer, ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", *marks])
    starts_with(tokenizer, "<bos>")
    names = {"bos_token": "<bos>", "eos_token": "<eos>", "pad_token": "<pad>", "unk_token": "<unk>"}
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": added_tokens(tokenizer),
        "additional_special_tokens": marks,
        "clean_up_tokenization_spaces": False,
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
        "use_default_system_prompt": False,
        **names,
    }
    return SyntheticTokenizer(config, tokenizer)


NLLB_LANGUAGES = ("eng_Latn", "fra_Latn", "deu_Latn", "spa_Latn", "kor_Hang")


def nllb(family: str) -> SyntheticTokenizer:
    """With all of NLLB's 202 languages: transformers adds those that are missing."""
    from transformers.models.nllb.tokenization_nllb import FAIRSEQ_LANGUAGE_CODES

    head = ("<s>", "<pad>", "</s>", "<unk>")
    vocabulary, learnt = _sentence_bpe(head, SIZE - 4)
    tokenizer = Tokenizer(models.BPE(vocabulary, learnt, unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement="▁", prepend_scheme="always")
    add_marks(tokenizer, [*head, *FAIRSEQ_LANGUAGE_CODES])
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True, normalized=True)])
    known = [(token, tokenizer.token_to_id(token)) for token in ("eng_Latn", "</s>")]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="eng_Latn $A </s>", pair="eng_Latn $A $B </s>", special_tokens=known
    )
    config = {
        "additional_special_tokens": list(FAIRSEQ_LANGUAGE_CODES),
        "legacy_behaviour": False,
        "sp_model_kwargs": {},
        "src_lang": None,
        "tgt_lang": None,
        "tokenizer_class": "NllbTokenizer",
        **_fairseq_names("<mask>"),
    }
    return SyntheticTokenizer(config, tokenizer)


def _fairseq_names(mask: str) -> dict[str, str]:
    names = {"bos": "<s>", "eos": "</s>", "sep": "</s>", "cls": "<s>", "unk": "<unk>", "pad": "<pad>", "mask": mask}
    return {f"{name}_token": token for name, token in names.items()}


def m2m_100(family: str) -> SyntheticTokenizer:
    """An spm file and vocab.json; the languages' tokens follow the vocabulary."""
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    head = ("<s>", "<pad>", "</s>", "<unk>")
    vocabulary, _ = _sentence_bpe(head, SIZE)
    pieces = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    pieces += [(piece, float(-i)) for i, piece in enumerate(p for p in vocabulary if p not in head)]
    files = {"sentencepiece.bpe.model": _spm(pieces, bpe=True), "vocab.json": to_json(vocabulary)}
    names = {name: token for name, token in _fairseq_names("").items() if name not in ("cls_token", "mask_token")}
    config = {
        "additional_special_tokens": [f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]],
        "language_codes": "m2m100",
        "num_madeup_words": 8,
        "src_lang": None,
        "tgt_lang": None,
        "tokenizer_class": "M2M100Tokenizer",
        **names,
    }
    return SyntheticTokenizer(config, files=files)


def _ends_with(tokenizer: Tokenizer, *tokens: str) -> None:
    known = [(token, tokenizer.token_to_id(token)) for token in tokens]
    end = " ".join(tokens)
    pair = f"$A {end} $B {end}" if len(tokens) == 1 else f"$A $B {end}"
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {end}", pair=pair, special_tokens=known)


def t5(family: str) -> SyntheticTokenizer:
    extra = [f"<extra_id_{i}>" for i in range(100)]
    pieces = corpus.unigram(["<pad>", "</s>", "<unk>"], extra[::-1], SIZE, lower=False)
    tokenizer = unigram(pieces, "<unk>")
    add_marks(tokenizer, ["<pad>", "</s>", "<unk>", *extra])
    _ends_with(tokenizer, "</s>")
    config = {
        "additional_special_tokens": extra,
        "eos_token": "</s>",
        "extra_ids": 100,
        "pad_token": "<pad>",
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    }
    return SyntheticTokenizer(config, tokenizer)


def mt5(family: str) -> SyntheticTokenizer:
    """spiece.model alone, with a piece for every byte, as google/mt5-small."""
    pieces = corpus.unigram(["<pad>", "</s>", "<unk>", *BYTES], [], SIZE, lower=False)
    config = {
        "additional_special_tokens": None,
        "eos_token": "</s>",
        "extra_ids": 0,
        "pad_token": "<pad>",
        "sp_model_kwargs": {},
        "tokenizer_class": "T5Tokenizer",
        "unk_token": "<unk>",
    }
    return SyntheticTokenizer(config, files={"spiece.model": spiece(pieces)})


def mbart(family: str) -> SyntheticTokenizer:
    from transformers.models.mbart.tokenization_mbart import FAIRSEQ_LANGUAGE_CODES

    head = ["<s>", "<pad>", "</s>", "<unk>"]
    pieces = corpus.unigram(head, [*FAIRSEQ_LANGUAGE_CODES, "<mask>"], SIZE, lower=False)
    tokenizer = unigram(pieces, "<unk>")
    add_marks(tokenizer, [*head, *FAIRSEQ_LANGUAGE_CODES])
    add_marks(tokenizer, ["<mask>"], lstrip=True)
    _ends_with(tokenizer, "</s>", "en_XX")
    config = {"src_lang": None, "tgt_lang": None, "tokenizer_class": "MBartTokenizer", **_fairseq_names("<mask>")}
    return SyntheticTokenizer(config, tokenizer)


def pegasus(family: str) -> SyntheticTokenizer:
    unknown = [f"<unk_{i}>" for i in range(2, 103)]
    head = ["<pad>", "</s>", "<mask_1>", "<mask_2>", *unknown, "<unk>"]
    pieces = corpus.unigram(head, [], SIZE, lower=False)
    tokenizer = unigram(pieces, "<unk>", cut=False)
    lines = normalizers.Replace(Regex(r"\n"), " ")
    tokenizer.normalizer = normalizers.Sequence([lines, normalizers.Replace(Regex(" {2,}"), " ")])
    add_marks(tokenizer, head)
    known = [("</s>", tokenizer.token_to_id("</s>"))]
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A $B </s>", special_tokens=known)
    config = {
        "additional_special_tokens": ["<mask_1>", *unknown],
        "eos_token": "</s>",
        "mask_token": "<mask_2>",
        "mask_token_sent": "<mask_1>",
        "offset": 103,
        "pad_token": "<pad>",
        "tokenizer_class": "PegasusTokenizer",
        "unk_token": "<unk>",
    }
    return SyntheticTokenizer(config, tokenizer)


def marian(family: str) -> SyntheticTokenizer:
    """Two spm files (the target's without some of the source's pieces) and one vocab.json; <pad> comes last."""
    body = corpus.unigram([], [], SIZE - 3, lower=False)
    head = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0)]
    target = [row for i, row in enumerate(body) if len(row[0]) == 1 or i % 7]
    table = {"</s>": 0, "<unk>": 1, **{piece: i for i, (piece, _) in enumerate(body, 2)}}
    files = {
        "source.spm": _spm([*head, *body]),
        "target.spm": _spm([*head, *target]),
        "vocab.json": to_json({**table, "<pad>": len(table)}),
    }
    config = {"source_lang": "en", "target_lang": "fr", "tokenizer_class": "MarianTokenizer"}
    return SyntheticTokenizer(config, files=files)


def spiece(pieces: list[tuple[str, float]]) -> bytes:
    """A model in T5's layout: the padding 0, the end 1, no beginning."""
    return _spm(pieces, pad=0, eos=1, bos=-1)


def _spm(pieces: list[tuple[str, float]], *, bpe: bool = False, pad: int = -1, bos: int = 1, eos: int = 2) -> bytes:
    """A SentencePiece model of these pieces, with the library's own character map (nmt_nfkc)."""
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    kinds = {"<unk>": 2, **dict.fromkeys(("<s>", "</s>", "<pad>"), 3), **dict.fromkeys(BYTES, 6)}
    for piece, score in pieces:
        model.pieces.add(piece=piece, score=score, type=kinds.get(piece, 1))
    trainer = model.trainer_spec
    trainer.model_type = 2 if bpe else 1
    trainer.vocab_size = len(pieces)
    trainer.unk_id = [piece for piece, _ in pieces].index("<unk>")
    trainer.bos_id, trainer.eos_id, trainer.pad_id = bos, eos, pad
    trainer.byte_fallback = BYTES[0] in dict(pieces)
    model.normalizer_spec.name = "nmt_nfkc"
    model.normalizer_spec.precompiled_charsmap = _character_map()
    written: bytes = model.SerializeToString(deterministic=True)
    return written


@cache
def _character_map() -> bytes:
    """The library's table, taken from a model that it trains on a few words."""
    import io

    import sentencepiece
    from sentencepiece import sentencepiece_model_pb2 as proto

    target = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus.SENTENCES),
        model_writer=target,
        vocab_size=150,
        normalization_rule_name="nmt_nfkc",
        minloglevel=2,
    )
    model = proto.ModelProto()
    model.ParseFromString(target.getvalue())
    table: bytes = model.normalizer_spec.precompiled_charsmap
    return table
