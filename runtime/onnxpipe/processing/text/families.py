"""Defaults of transformers' tokenizer classes, for settings that a model's files leave out. One row per class.

Source: the classes of transformers 5.23 (`tests/conformance/test_tokenizer.py` compares the table with them). Where
`tokenizer.json` and `tokenizer_config.json` both have a flag, the latter counts, as in 4.57 and 5.23.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from onnxpipe.processing.text.languages import LanguageConfig


@dataclass(frozen=True)
class TokenizerFamily:
    """The defaults of a tokenizer class.

    Attributes:
        tokens: special tokens by role.
        inputs: the rows that a call returns, `input_ids` first.
        padding_side: "right" or "left".
        pad_type: the token type of padding.
        flags: settings of the normalizer, pre-tokenizer and post-processor (see `flags.FLAGS`).
        vocabulary: the files it can be built from where there is no `tokenizer.json`: "vocab.txt" or
            "vocab.json"; None if it cannot. "ctc" is a `vocab.json` of CTC, which is preferred to a tokenizer.json,
            and "characters" one of VITS.
        languages: its language tokens; None if it has none.
        max_length: `model_max_length`; None where the class has none.
        open_ended: whether `add_bos_token` and `add_eos_token` decide which special tokens go around a text; else the
            class alone does.
        metaspace: whether spaces are Llama's `▁`, put before the text or before every piece of it (see `metaspace`).
        settings: further settings, which only this class has.
        literal: whether added tokens are searched for in the text before normalization, whatever their flags say.
        frame: the special tokens around a text of a tokenizer that is built from vocabulary files: "bert" ([CLS] A
            [SEP] B [SEP], token types 0 and 1), "roberta" (<s> A </s></s> B </s>), or None.
    """

    tokens: Mapping[str, str] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("input_ids", "attention_mask")
    padding_side: str = "right"
    pad_type: int = 0
    flags: Mapping[str, Any] = field(default_factory=dict)
    vocabulary: Literal["vocab.txt", "vocab.json", "ctc", "characters"] | None = None
    frame: Literal["bert", "roberta"] | None = None
    languages: LanguageConfig | None = None
    max_length: int | None = None
    open_ended: bool = False
    metaspace: bool = False
    settings: tuple[str, ...] = ()
    literal: bool = False


_WITH_TYPES = ("input_ids", "token_type_ids", "attention_mask")
_TYPES_LAST = ("input_ids", "attention_mask", "token_type_ids")


def _tokens(bos: str, eos: str, unk: str, sep: str, pad: str, cls: str, mask: str) -> dict[str, str]:
    roles = {"bos": bos, "eos": eos, "unk": unk, "sep": sep, "pad": pad, "cls": cls, "mask": mask}
    return {f"{role}_token": token for role, token in roles.items() if token}


_BERT_TOKENS = _tokens("", "", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
_ROBERTA_TOKENS = _tokens("<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>")
_ALBERT_TOKENS = _tokens("[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]")
_DEBERTA_TOKENS = _tokens("[CLS]", "[SEP]", "[UNK]", "[SEP]", "[PAD]", "[CLS]", "[MASK]")
_GPT2_TOKENS = _tokens("<|endoftext|>", "<|endoftext|>", "<|endoftext|>", "", "", "", "")

_WORDPIECE_FLAGS = {"do_lower_case": True, "strip_accents": None, "tokenize_chinese_chars": True}
_BYTE_FLAGS = {"add_prefix_space": False, "trim_offsets": True}

_MBART = LanguageConfig(codes=r"[a-z]{2,3}_[A-Z]{2}", place="suffix", source="en_XX")
_NLLB = LanguageConfig(codes=r"[a-z]{3}_[A-Z][a-z]{3}", place="prefix", source="eng_Latn", movable=True)
_M2M100 = LanguageConfig(codes=r"__[a-z]{2,3}__", place="prefix", source="en", token="__{}__", by_code=True)
_PLBART = LanguageConfig(
    codes=r"__(java|python|en_XX|javascript|php|ruby|go)__", place="suffix", source=None, token="__{}__"
)
_T5_TOKENS = {"eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}

_BERT = TokenizerFamily(_BERT_TOKENS, _WITH_TYPES, flags=_WORDPIECE_FLAGS, vocabulary="vocab.txt", frame="bert")
_DPR = replace(_BERT, flags={**_WORDPIECE_FLAGS, "do_lower_case": False})
_ROBERTA = TokenizerFamily(_ROBERTA_TOKENS, flags=_BYTE_FLAGS, vocabulary="vocab.json", frame="roberta")
_XLM_ROBERTA = TokenizerFamily(_ROBERTA_TOKENS)
#: Boxes of the tokens that are no words of a page.
_TOKEN_BOXES = ("cls_token_box", "pad_token_box", "sep_token_box")
_CTC = TokenizerFamily(
    {**_tokens("<s>", "</s>", "<unk>", "", "<pad>", "", ""), "word_delimiter_token": "|"},
    vocabulary="ctc",
    settings=("do_lower_case", "replace_word_delimiter_char", "target_lang", "word_delimiter_token"),
)

FAMILIES: Mapping[str, TokenizerFamily] = {
    "BertTokenizer": _BERT,
    "ConvBertTokenizer": _BERT,
    "DPRContextEncoderTokenizer": _DPR,
    "DPRQuestionEncoderTokenizer": _DPR,
    "DistilBertTokenizer": replace(_BERT, inputs=("input_ids", "attention_mask")),
    "ElectraTokenizer": _BERT,
    "LayoutLMTokenizer": _BERT,
    "LayoutLMv2Tokenizer": replace(_BERT, inputs=_TYPES_LAST, settings=_TOKEN_BOXES),
    "LayoutLMv3Tokenizer": replace(
        _ROBERTA,
        inputs=("input_ids", "attention_mask", "bbox"),
        flags={"add_prefix_space": True},
        settings=_TOKEN_BOXES,
    ),
    "LayoutXLMTokenizer": replace(_XLM_ROBERTA, settings=_TOKEN_BOXES),
    "LxmertTokenizer": _BERT,
    "MobileBertTokenizer": _BERT,
    "SqueezeBertTokenizer": _BERT,
    "TapasTokenizer": TokenizerFamily(
        {**_BERT_TOKENS, "empty_token": "[EMPTY]"},
        _TYPES_LAST,
        flags=_WORDPIECE_FLAGS,
        vocabulary="vocab.txt",
        frame="bert",
        max_length=512,
        settings=("cell_trim_length", "max_column_id", "max_row_id", "strip_column_names"),
    ),
    "TapexTokenizer": replace(
        _ROBERTA, flags={**_BYTE_FLAGS, "add_prefix_space": True}, settings=("do_lower_case", "max_cell_length")
    ),
    "MPNetTokenizer": TokenizerFamily(
        {**_ROBERTA_TOKENS, "unk_token": "[UNK]"}, flags=_WORDPIECE_FLAGS, vocabulary="vocab.txt", frame="roberta"
    ),
    "FunnelTokenizer": TokenizerFamily(
        _tokens("<s>", "</s>", "<unk>", "<sep>", "<pad>", "<cls>", "<mask>"), flags=_WORDPIECE_FLAGS
    ),
    "SplinterTokenizer": TokenizerFamily({**_BERT_TOKENS, "question_token": "[QUESTION]"}, flags=_WORDPIECE_FLAGS),
    "RobertaTokenizer": _ROBERTA,
    "BartTokenizer": _ROBERTA,
    "LEDTokenizer": _ROBERTA,
    "LongformerTokenizer": _ROBERTA,
    "MvpTokenizer": _ROBERTA,
    "BlenderbotTokenizer": TokenizerFamily(_ROBERTA_TOKENS, flags={"add_prefix_space": True}),
    "DebertaTokenizer": TokenizerFamily(_DEBERTA_TOKENS, _TYPES_LAST, flags={"add_prefix_space": False}),
    "GPT2Tokenizer": TokenizerFamily(
        _GPT2_TOKENS, flags={"add_prefix_space": False}, vocabulary="vocab.json", open_ended=True
    ),
    "CodeGenTokenizer": TokenizerFamily(_GPT2_TOKENS, flags={"add_prefix_space": False}, open_ended=True),
    "CohereTokenizer": TokenizerFamily(
        _tokens("<BOS_TOKEN>", "<|END_OF_TURN_TOKEN|>", "<UNK>", "<SEP>", "<PAD>", "<CLS>", "<MASK_TOKEN>"),
        padding_side="left",
        flags={"add_prefix_space": False},
        open_ended=True,
    ),
    "GemmaTokenizer": TokenizerFamily(
        _tokens("<bos>", "<eos>", "<unk>", "", "<pad>", "", "<mask>"), padding_side="left", open_ended=True
    ),
    "LlamaTokenizer": TokenizerFamily(
        _tokens("<s>", "</s>", "<unk>", "", "", "", ""), padding_side="left", open_ended=True, metaspace=True
    ),
    "Qwen2Tokenizer": TokenizerFamily(
        _tokens("", "<|endoftext|>", "<|endoftext|>", "", "<|endoftext|>", "", ""), open_ended=True
    ),
    "GPTNeoXTokenizer": TokenizerFamily(
        {**_GPT2_TOKENS, "pad_token": "<|padding|>"}, flags=_BYTE_FLAGS, open_ended=True
    ),
    "AlbertTokenizer": TokenizerFamily(_ALBERT_TOKENS),
    "BarthezTokenizer": _XLM_ROBERTA,
    "BigBirdTokenizer": TokenizerFamily(_tokens("<s>", "</s>", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]")),
    "CamembertTokenizer": _XLM_ROBERTA,
    "DebertaV2Tokenizer": TokenizerFamily(_DEBERTA_TOKENS, _TYPES_LAST),
    "FNetTokenizer": TokenizerFamily(_ALBERT_TOKENS, ("input_ids", "token_type_ids")),
    "RemBertTokenizer": TokenizerFamily(_tokens("[CLS]", "[SEP]", "<unk>", "[SEP]", "<pad>", "[CLS]", "[MASK]")),
    "T5Tokenizer": TokenizerFamily(_T5_TOKENS),
    "M2M100Tokenizer": TokenizerFamily(_tokens("<s>", "</s>", "<unk>", "</s>", "<pad>", "", ""), languages=_M2M100),
    "MarianTokenizer": TokenizerFamily(_T5_TOKENS, max_length=512),
    "MBart50Tokenizer": TokenizerFamily(
        _tokens("", "</s>", "<unk>", "</s>", "<pad>", "<s>", "<mask>"), languages=replace(_MBART, place="prefix")
    ),
    "MBartTokenizer": TokenizerFamily(_ROBERTA_TOKENS, languages=_MBART),
    "NllbTokenizer": TokenizerFamily(_ROBERTA_TOKENS, languages=_NLLB),
    "PegasusTokenizer": TokenizerFamily({**_T5_TOKENS, "mask_token": "<mask_2>"}),
    "PLBartTokenizer": TokenizerFamily(_ROBERTA_TOKENS, languages=_PLBART),
    "PhonemeTokenizer": TokenizerFamily({"pad_token": "$", "unk_token": "$"}, vocabulary="characters"),
    "Speech2TextTokenizer": TokenizerFamily(
        _tokens("<s>", "</s>", "<unk>", "", "<pad>", "", ""),
        settings=("do_lower_case", "do_upper_case", "lang_codes", "tgt_lang"),
    ),
    "SpeechT5Tokenizer": TokenizerFamily(
        _tokens("<s>", "</s>", "<unk>", "", "<pad>", "", ""), settings=("normalize",), literal=True
    ),
    "VitsTokenizer": TokenizerFamily(
        {"pad_token": "<pad>", "unk_token": "<unk>"},
        vocabulary="characters",
        settings=("add_blank", "is_uroman", "language", "normalize", "phonemize"),
    ),
    "Wav2Vec2CTCTokenizer": _CTC,
    "WhisperTokenizer": TokenizerFamily(
        _GPT2_TOKENS,
        flags={"add_prefix_space": False},
        vocabulary="vocab.json",
        settings=("language", "task", "predict_timestamps"),
    ),
    "XGLMTokenizer": TokenizerFamily(_tokens("<s>", "</s>", "<unk>", "</s>", "<pad>", "<s>", "")),
    "XLMRobertaTokenizer": _XLM_ROBERTA,
    "XLNetTokenizer": TokenizerFamily(
        _tokens("<s>", "</s>", "<unk>", "<sep>", "<pad>", "<cls>", "<mask>"), padding_side="left", pad_type=3
    ),
}
"""Tokenizer class (without "Fast") -> its defaults. Classes that are not listed have none."""

CLASS_OF: Mapping[str, str] = {
    "albert": "AlbertTokenizer",
    "bart": "BartTokenizer",
    "bert": "BertTokenizer",
    "big_bird": "BigBirdTokenizer",
    "blenderbot": "BlenderbotTokenizer",
    "codegen": "GPT2Tokenizer",
    "cohere": "CohereTokenizer",
    "cohere2": "CohereTokenizer",
    "camembert": "CamembertTokenizer",
    "convbert": "BertTokenizer",
    "deberta": "DebertaTokenizer",
    "deberta-v2": "DebertaV2Tokenizer",
    "distilbert": "DistilBertTokenizer",
    "dpr": "DPRQuestionEncoderTokenizer",
    "electra": "BertTokenizer",
    "fnet": "FNetTokenizer",
    "funnel": "FunnelTokenizer",
    "gemma": "GemmaTokenizer",
    "gemma2": "GemmaTokenizer",
    "gemma3": "GemmaTokenizer",
    "gemma3_text": "GemmaTokenizer",
    "gpt2": "GPT2Tokenizer",
    "gpt_neo": "GPT2Tokenizer",
    "gptj": "GPT2Tokenizer",
    "gpt_neox": "GPTNeoXTokenizer",
    "layoutlm": "LayoutLMTokenizer",
    "layoutlmv2": "LayoutLMv2Tokenizer",
    "layoutlmv3": "LayoutLMv3Tokenizer",
    "lilt": "RobertaTokenizer",
    "led": "LEDTokenizer",
    "longformer": "LongformerTokenizer",
    "lxmert": "LxmertTokenizer",
    "m2m_100": "M2M100Tokenizer",
    "marian": "MarianTokenizer",
    "mbart": "MBartTokenizer",
    "mobilebert": "MobileBertTokenizer",
    "mpnet": "MPNetTokenizer",
    "mt5": "T5Tokenizer",
    "mvp": "MvpTokenizer",
    "opt": "GPT2Tokenizer",
    "pegasus": "PegasusTokenizer",
    "phi": "GPT2Tokenizer",
    "plbart": "PLBartTokenizer",
    "qwen2": "Qwen2Tokenizer",
    "qwen3": "Qwen2Tokenizer",
    "rembert": "RemBertTokenizer",
    "roberta": "RobertaTokenizer",
    "speech_to_text": "Speech2TextTokenizer",
    "speecht5": "SpeechT5Tokenizer",
    "splinter": "SplinterTokenizer",
    "squeezebert": "SqueezeBertTokenizer",
    "t5": "T5Tokenizer",
    "tapas": "TapasTokenizer",
    "vits": "VitsTokenizer",
    "whisper": "WhisperTokenizer",
    "xlm-roberta": "XLMRobertaTokenizer",
    "xlnet": "XLNetTokenizer",
    **dict.fromkeys(("granite_speech5_ctc", "parakeet_ctc"), "ParakeetTokenizer"),
    **dict.fromkeys(
        ("data2vec-audio", "hubert", "sew", "sew-d", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-bert",
         "wav2vec2-conformer", "wavlm"),
        "Wav2Vec2CTCTokenizer",
    ),
}  # fmt: skip
"""`model_type` of `config.json` -> tokenizer class, for models whose files do not name the class."""

RENAMED: Mapping[str, str | None] = {
    **dict.fromkeys(
        ("ernie4_5", "glm", "glm4", "gpt_bigcode", "granite", "granitemoe", "granitemoehybrid", "jamba", "llava",
         "llava_next", "minicpm3", "ministral", "mistral", "mixtral", "nemotron", "olmo2", "olmo3", "persimmon", "phi3",
         "phimoe", "smolvlm", "stablelm", "umt5", "vipllava")
    ),
    "qwen2": "Qwen2Tokenizer",
    "style_text_to_speech_2": "PhonemeTokenizer",
}  # fmt: skip
"""`model_type` -> the class to use although the files name another one; None to use `tokenizer.json` as it is."""


IN_PYTHON = frozenset({"M2M100Tokenizer", "MarianTokenizer", "PLBartTokenizer"})
"""Classes that transformers implements in Python, and which clean up spaces for BPE too."""


def family_of(tokenizer_class: str | None) -> TokenizerFamily:
    """Look up the defaults of a class (with or without "Fast"); those of transformers' base class for any other."""
    return FAMILIES.get((tokenizer_class or "").removesuffix("Fast"), TokenizerFamily(open_ended=True))
