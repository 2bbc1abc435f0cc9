"""Tell what a file of a model folder is by its name alone, so that a Hub repository is judged before a download."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from onnxpipe.bundle.diffusion_folder import (
    component_side_files,
    component_weights,
    denoiser_of,
    is_diffusion_folder,
)
from onnxpipe.bundle.genai_folder import GENAI
from onnxpipe.bundle.precision import Choice, Precisions, choose_precision

Need = Literal["config", "tokenizer", "processor", "model"]

_WEIGHTS = re.compile(
    r"(model|consolidated.*)(-\d+-of-\d+)?\.(safetensors|pth|pt)(\.index\.json)?"
    r"|(pytorch_model|tf_model|flax_model)(-\d+-of-\d+)?\.(bin|h5|msgpack|safetensors)(\.index\.json)?"
)
_CONFIG = frozenset({"config.json", "generation_config.json", GENAI})
#: The settings of models that are asked for decisions.
_DECISION = frozenset({"decision.json", "decision_template.jinja"})
_CERTIFICATE = frozenset({"bundle.json", "certificate.json", "golden.npz"})
_TOKENIZER = frozenset(
    {
        "tokenizer.json",
        "target_tokenizer.json",  # Marian: the texts to translate into have a vocabulary of their own
        "vocab.json",  # of CTC and VITS it goes before tokenizer.json
        "tokenizer_config.json",
        "special_tokens_map.json",
        "added_tokens.json",
        "chat_template.json",
        "chat_template.jinja",
        "config.json",
    }
)
#: Only needed where tokenizer.json, which holds the same, is missing.
_VOCABULARY = re.compile(r"vocab\.txt|merges\.txt|.*\.(model|spm)|.*\.bpe")
_PROCESSORS = frozenset({"preprocessor_config.json", "processor_config.json", "video_preprocessor_config.json"})
#: Kokoro's voices, in one file or a file each; Bark's: the list of them, and three arrays each.
_VOICES = re.compile(
    r"voices[\w.-]*\.bin|voices/[^/]+\.bin|speaker_embeddings_path\.json|speaker_embeddings/(?!\.).+\.npy"
)
#: A language model of pyctcdecode for speech recognition: its alphabet, and the folder of its n-grams.
_LANGUAGE = re.compile(r"alphabet\.json|language_model/(?!\.)[^/]+")
#: The names of OneFormer's classes; its processor's config says in which file they are (`class_info_file`).
_CLASSES = re.compile(r"[^/]*(panoptic|class)[^/]*\.json")
#: The modules of sentence-transformers: 1_Pooling/config.json, 2_Dense/model.safetensors and the like.
_MODULES = re.compile(r"(?!onnx/)\w+/config\.json|(\d+_\w+|\w*Dense\w*)/model\.safetensors", re.ASCII)
_SENTENCE = frozenset({"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"})


def needed_graphs(available: Iterable[str]) -> tuple[str, ...]:
    """Choose the graphs that a model needs from those in a folder: optimum writes some of them in two forms."""
    names = set(available)
    if "model" in names:
        return ("model",)
    if "decoder_model_merged" in names:
        names -= {"decoder_model", "decoder_with_past_model"}
    names.discard("build_delay_pattern_mask")  # MusicGen's, of transformers.js: arithmetic that needs no graph
    return tuple(sorted(names))


def choice_of(graph: str, available: Mapping[str, Collection[str]], precisions: Precisions) -> Choice | None:
    """Choose the precision of a graph among those available; None if it is not there as wanted.

    Of a diffusion pipeline one precision for all is that of the graph that denoises. The others take it where they have
    it, else the fullest there is: an image's decoder in 8 bits, or in the float16 that it overflows in, is seldom
    exported.
    """
    files = available.get(graph, ())
    found = choose_precision(files, precisions.wanted(graph))
    denoiser = denoiser_of(available)
    if found is None and denoiser not in (None, graph) and graph not in precisions.of_graphs:
        return choose_precision(files, "auto")
    return found


def has_weights(names: Iterable[str]) -> bool:
    """Whether there are weights of PyTorch, TensorFlow or Flax, from which a graph could be exported."""
    names = list(names)
    if is_diffusion_folder(names):
        return component_weights(names)
    return any(_WEIGHTS.fullmatch(name) for name in names)


def side_files(names: Iterable[str], need: Need) -> list[str]:
    """Choose the files that are needed besides the graphs: config, tokenizer, processors, certificate."""
    names = sorted(names)
    if is_diffusion_folder(names):
        return [*component_side_files(names), *(name for name in names if need == "model" and name in _CERTIFICATE)]
    wanted = {"config": _CONFIG, "processor": _CONFIG | _PROCESSORS}.get(need, _TOKENIZER)
    if need == "model":
        wanted |= _CONFIG | _DECISION | _PROCESSORS | _SENTENCE | _CERTIFICATE
    chosen = [name for name in names if name in wanted]
    if need in ("tokenizer", "model"):
        chosen += [name for name in names if name.startswith("additional_chat_templates/")]
        if "tokenizer.json" not in names:
            chosen += [name for name in names if _VOCABULARY.fullmatch(name) and "/" not in name]
    if need == "model":
        chosen += [name for name in names if _VOICES.fullmatch(name) or _LANGUAGE.fullmatch(name)]
        chosen += [name for name in names if "modules.json" in names and _MODULES.fullmatch(name)]
    if need in ("processor", "model"):
        chosen += [name for name in names if _CLASSES.fullmatch(name)]
    return chosen


def data_files(graph: str, names: Iterable[str]) -> list[str]:
    """Choose files that by their names hold a graph's weights: model.onnx_data, model.onnx_data_1, model.onnx.data."""
    pattern = re.compile(re.escape(graph) + r"[._]data(_\d+)?")
    return [name for name in names if pattern.fullmatch(name)]
