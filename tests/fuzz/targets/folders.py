"""Files of a model's folder: tokenizer.json, and every JSON file of settings that the runtime reads."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

from attacks.graphs import embedding, model, write_folder, write_manifest
from fuzz.mutate import dump, mutate_json, mutate_text
from fuzz.target import Target, named, split
from onnxpipe import pipeline
from onnxpipe.bundle import Config
from onnxpipe.errors import OnnxPipeError
from onnxpipe.generation.config import GenerationConfig
from onnxpipe.processing.auto import AutoFeatureExtractor, AutoImageProcessor, AutoVideoProcessor
from onnxpipe.processing.text.tokenizer import Tokenizer

_TEXTS = ("", "the cat sat", "Hello, wörld! [MASK] \U0001f600 <s>", "a" * 300)
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def bpe_tokenizer() -> Any:
    """Make a byte-level BPE tokenizer of 259 tokens: the bytes, two merges, and the end as number 0."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    pieces = ["</s>", *letters, "th", "the"]
    backend = tokenizers.Tokenizer(models.BPE({p: i for i, p in enumerate(pieces)}, [("t", "h"), ("th", "e")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["</s>"])
    return backend


def wordpiece_tokenizer() -> Any:
    """Make BERT's kind of tokenizer with 31 tokens and more for single letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    pieces = [*_SPECIAL, *letters, *(f"##{letter}" for letter in letters), "the", "cat"][:50]
    backend = tokenizers.Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", "[CLS] $A [SEP] $B:1 [SEP]:1",
                                                           [("[CLS]", 2), ("[SEP]", 3)])  # fmt: skip
    backend.add_special_tokens(_SPECIAL)
    return backend


def unigram_tokenizer() -> Any:
    """Make SentencePiece's kind of tokenizer: Unigram, with a normaliser in several steps."""
    pieces = [("<unk>", 0.0), ("▁", -2.0), ("▁the", -3.0), ("▁cat", -3.5), *((c, -5.0) for c in "acehlost")]
    backend = tokenizers.Tokenizer(models.Unigram(pieces, 0, byte_fallback=False))
    backend.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(tokenizers.Regex(" {2,}"), " ")])
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    return backend


def _tokenizers() -> list[bytes]:
    return [make().to_str().encode() for make in (bpe_tokenizer, wordpiece_tokenizer, unigram_tokenizer)]


def _mutate_json(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if random.random() < 0.1:
        return mutate_text(random, data.decode()).encode("utf-8", "surrogatepass")
    return dump(mutate_json(random, json.loads(data), [json.loads(other) for other in others]))


def _tokenize(data: bytes, folder: Path) -> None:
    (folder / "tokenizer.json").write_bytes(data)
    tokenizer = Tokenizer.from_folder(folder)
    for text in _TEXTS:
        ids = tokenizer(text, truncation=True, max_length=16)["input_ids"]
        tokenizer.decode(ids)
    tokenizer(list(_TEXTS), [*_TEXTS[::-1]])


def _classifier() -> Any:
    """logits = sums of rows of a table: the smallest graph that classifies text, with three labels."""
    helper, kind = onnx.helper, onnx.TensorProto
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("ReduceSum", ["rows", "axis"], ["logits"], keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info(n, kind.INT64, ["b", "s"]) for n in ("input_ids", "attention_mask")]
    table = np.linspace(-1, 1, 150, dtype=np.float32).reshape(50, 3)
    tensors = [onnx.numpy_helper.from_array(table, "table"), onnx.numpy_helper.from_array(np.array([1]), "axis")]
    return model(nodes, inputs, [helper.make_tensor_value_info("logits", kind.FLOAT, ["b", 3])], tensors)


_CLASSIFIER = {
    "model_type": "bert", "architectures": ["BertForSequenceClassification"], "hidden_size": 4, "vocab_size": 50,
    "id2label": {"0": "bad", "1": "so so", "2": "good"}, "label2id": {"bad": 0, "so so": 1, "good": 2},
    "problem_type": "single_label_classification", "max_position_embeddings": 64, "pad_token_id": 0,
}  # fmt: skip
_TOKENIZER_CONFIG = {
    "tokenizer_class": "BertTokenizerFast", "model_max_length": 64, "do_lower_case": True, "pad_token": "[PAD]",
    "unk_token": "[UNK]", "cls_token": {"content": "[CLS]", "lstrip": False, "__type": "AddedToken"},
    "sep_token": "[SEP]",
    "mask_token": "[MASK]", "padding_side": "right", "clean_up_tokenization_spaces": True,
    "chat_template": "{{ messages }}", "extra_special_tokens": [], "added_tokens_decoder": {"1": {"content": "[UNK]",
    "special": True}},
}  # fmt: skip
_MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
_POOLING = {"word_embedding_dimension": 4, "pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False,
            "pooling_mode_max_tokens": False, "include_prompt": True}  # fmt: skip
_VIT = {
    "image_processor_type": "ViTImageProcessor", "do_resize": True, "size": {"height": 8, "width": 8}, "resample": 2,
    "do_rescale": True, "rescale_factor": 0.00392, "do_normalize": True, "image_mean": [0.5, 0.5, 0.5],
    "image_std": [0.5, 0.5, 0.5],
}  # fmt: skip
_CLIP = {
    "image_processor_type": "CLIPImageProcessor", "size": {"shortest_edge": 8}, "crop_size": {"height": 8, "width": 8},
    "do_center_crop": True, "do_convert_rgb": True, "do_normalize": True, "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}  # fmt: skip
_DETR = {
    "image_processor_type": "DetrImageProcessor", "size": {"shortest_edge": 8, "longest_edge": 16}, "do_pad": True,
    "format": "coco_detection",
}  # fmt: skip
_WHISPER = {
    "feature_extractor_type": "WhisperFeatureExtractor", "feature_size": 80, "sampling_rate": 16_000, "hop_length": 160,
    "chunk_length": 1, "n_fft": 400, "padding_value": 0.0, "return_attention_mask": False, "n_samples": 16_000,
}  # fmt: skip
_WAV2VEC2 = {"feature_extractor_type": "Wav2Vec2FeatureExtractor", "feature_size": 1, "sampling_rate": 16_000,
             "do_normalize": True, "return_attention_mask": True, "padding_side": "right"}  # fmt: skip
_AST = {"feature_extractor_type": "ASTFeatureExtractor", "num_mel_bins": 16, "max_length": 64, "mean": -4.2, "std": 4.5,
        "sampling_rate": 16_000}  # fmt: skip
_GENERATION = {
    "max_length": 20, "num_beams": 2, "do_sample": False, "temperature": 0.7, "top_k": 5, "top_p": 0.9,
    "eos_token_id": [0, 2],
    "bos_token_id": 1, "pad_token_id": 0, "forced_bos_token_id": None, "suppress_tokens": [1, 2],
    "bad_words_ids": [[3, 4]],
    "no_repeat_ngram_size": 3, "length_penalty": 1.2, "early_stopping": True, "transformers_version": "5.0",
}  # fmt: skip


@cache
def _text_files() -> dict[str, bytes]:
    """Make the files of a sound model of sentences, with a manifest of them."""
    files = {
        "tokenizer.json": wordpiece_tokenizer().to_str(),
        "tokenizer_config.json": _TOKENIZER_CONFIG,
        "special_tokens_map.json": {"unk_token": "[UNK]", "pad_token": {"content": "[PAD]"}},
        "added_tokens.json": {"[EXTRA]": 49},
        "modules.json": json.dumps(_MODULES),
        "1_Pooling/config.json": _POOLING,
        "sentence_bert_config.json": {"max_seq_length": 32, "do_lower_case": False},
        "config_sentence_transformers.json": {"prompts": {"query": "q: "}, "default_prompt_name": None},
        "certificate.json": {"format": 1, "graphs": {}},
        "onnx/model.onnx": embedding(),
    }
    with tempfile.TemporaryDirectory() as name:
        folder = write_manifest(write_folder(Path(name), files), tasks=["embedding", "feature-extraction"])
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def _configs() -> list[bytes]:
    files = {path: content for path, content in _text_files().items() if path.endswith(".json")}
    seeds = [named(path, content) for path, content in files.items() if path != "tokenizer.json"]
    own: list[tuple[str, Any]] = [
        ("classifier/config.json", _CLASSIFIER),
        ("classifier/tokenizer_config.json", _TOKENIZER_CONFIG),
        ("generation/generation_config.json", _GENERATION),
        *(("images/preprocessor_config.json", each) for each in (_VIT, _CLIP, _DETR)),
        ("images/processor_config.json", {"image_processor": _VIT, "processor_class": "CLIPProcessor"}),
        ("videos/video_preprocessor_config.json", _VIT),
        *(("audio/preprocessor_config.json", each) for each in (_WHISPER, _WAV2VEC2, _AST)),
    ]
    return seeds + [named(name, dump(value)) for name, value in own]


def _mutate_config(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    name, content = split(data)
    return named(name, _mutate_json(random, content, [split(other)[1] for other in others]))


def _load(data: bytes, folder: Path) -> None:
    """Put the file into a folder of its kind, load what reads it, and use that once."""
    name, content = split(data)
    kind, _, file = name.partition("/")
    image = np.zeros((12, 10, 3), np.uint8)
    if kind == "classifier":
        files = {"tokenizer.json": wordpiece_tokenizer().to_str(), "onnx/model.onnx": _classifier()}
        write_folder(folder, files, _CLASSIFIER)
        (folder / file).write_bytes(content)
        pipeline("text-classification", str(folder))("the cat", top_k=None)
    elif kind == "generation":
        write_folder(folder, {file: content}, {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"]})
        GenerationConfig.from_folder(folder, Config.from_folder(folder)).to_dict()
    elif kind == "images":
        AutoImageProcessor.from_pretrained(write_folder(folder, {file: content}))(image)
    elif kind == "videos":
        AutoVideoProcessor.from_pretrained(write_folder(folder, {file: content}))([image] * 2)
    elif kind == "audio":
        extract = AutoFeatureExtractor.from_pretrained(write_folder(folder, {file: content}, {"model_type": "x"}))
        extract(np.zeros(4000, np.float32), sampling_rate=16_000)
    else:
        files = {path: each for path, each in _text_files().items() if path != "bundle.json"}
        write_folder(folder, {**files, name: content})
        pipeline("embedding", str(folder))("the cat sat")


TOKENIZERS = Target("tokenizers", _tokenizers, _mutate_json, _tokenize, (OnnxPipeError,), count=600)
CONFIGS = Target("configs", _configs, _mutate_config, _load, (OnnxPipeError,), count=400)
