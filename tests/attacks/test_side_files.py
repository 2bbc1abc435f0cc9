"""Every file beside the graphs that the runtime reads, as a link out of the folder, a pipe, a device, or 8 GB long."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import onnxpipe
from attacks.graphs import embedding, write_folder
from onnxpipe import AutoConfig, AutoTokenizer
from onnxpipe.bundle import Bundle, Config, open_bundle
from onnxpipe.bundle.diffusion_folder import index_config
from onnxpipe.bundle.files import read_bytes
from onnxpipe.bundle.genai_folder import genai_config
from onnxpipe.bundle.layout import side_files
from onnxpipe.bundle.proof import read_golden
from onnxpipe.diffusion.schedulers import DDIMScheduler
from onnxpipe.errors import BundleError
from onnxpipe.generation import GenerationConfig
from onnxpipe.models.text_to_audio.bark.voice import voice
from onnxpipe.models.text_to_audio.kokoro import _read_voice, _read_voices
from onnxpipe.processing.auto import AutoFeatureExtractor, AutoImageProcessor, AutoVideoProcessor
from onnxpipe.processing.images.maskformer import OneFormerImageProcessor
from onnxpipe.processing.multimodal.vision_language import _read
from onnxpipe.processing.text.decision.config import DecisionConfig
from onnxpipe.processing.text.pooling import read_pooling_config
from onnxpipe.tasks.speech_recognition.language_model import load_language_model

pytestmark = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes in folders here")

TOKENIZER = json.dumps(
    {"version": "1.0", "added_tokens": [], "model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}}
)
BERT = "[UNK]\n[CLS]\n[SEP]"
Files = Mapping[str, Any]


def _voice(folder: Path) -> Any:
    config = {"model_type": "style_text_to_speech_2"}
    return _read_voice(Bundle(folder, Config(config), None, None, {}), "a", 2)


def _language_model(folder: Path) -> Any:
    return load_language_model(None, SimpleNamespace(bundle=SimpleNamespace(folder=folder), name_or_path="m"))


def _class(name: str) -> Files:
    return {"tokenizer_config.json": {"tokenizer_class": name}}


VOICES = {"speaker_embeddings_path.json": {"v": {"semantic_prompt": "speaker_embeddings/v.npy"}}}
DENSE = {"modules.json": [{"type": "a.Dense", "path": "2_Dense"}], "2_Dense/config.json": {}}

#: Name of a file -> the other files of its folder, and what reads it.
READERS: dict[str, tuple[Files, Callable[[Path], Any]]] = {
    "config.json": ({}, AutoConfig.from_pretrained),
    "bundle.json": ({}, open_bundle),
    "certificate.json": ({}, open_bundle),
    "golden.npz": ({}, read_golden),
    "model_index.json": ({}, index_config),
    "genai_config.json": ({}, genai_config),
    "scheduler/scheduler_config.json": ({}, lambda folder: DDIMScheduler.from_pretrained(folder, "scheduler")),
    "decision.json": ({}, DecisionConfig.from_folder),
    "decision_template.jinja": ({}, DecisionConfig.from_folder),
    "generation_config.json": ({}, GenerationConfig.from_pretrained),
    "tokenizer.json": ({}, AutoTokenizer.from_pretrained),
    "target_tokenizer.json": ({"tokenizer.json": TOKENIZER}, AutoTokenizer.from_pretrained),
    "tokenizer_config.json": ({"tokenizer.json": TOKENIZER}, AutoTokenizer.from_pretrained),
    "special_tokens_map.json": ({"tokenizer.json": TOKENIZER}, AutoTokenizer.from_pretrained),
    "added_tokens.json": ({"vocab.txt": BERT, **_class("BertTokenizer")}, AutoTokenizer.from_pretrained),
    "chat_template.jinja": ({"tokenizer.json": TOKENIZER}, AutoTokenizer.from_pretrained),
    "chat_template.json": ({}, lambda folder: _read(folder, "chat_template.json")),
    "additional_chat_templates/tool_use.jinja": ({"tokenizer.json": TOKENIZER}, AutoTokenizer.from_pretrained),
    "vocab.txt": (_class("BertTokenizer"), AutoTokenizer.from_pretrained),
    "vocab.json": ({"tokenizer.json": TOKENIZER, **_class("VitsTokenizer")}, AutoTokenizer.from_pretrained),
    "merges.txt": ({"vocab.json": {"a": 0}, **_class("GPT2Tokenizer")}, AutoTokenizer.from_pretrained),
    "preprocessor_config.json": ({}, AutoImageProcessor.from_pretrained),
    "processor_config.json": ({}, AutoFeatureExtractor.from_pretrained),
    "video_preprocessor_config.json": ({}, AutoVideoProcessor.from_pretrained),
    "ade20k_panoptic.json": (
        {"preprocessor_config.json": {"class_info_file": "ade20k_panoptic.json"}},
        OneFormerImageProcessor.from_pretrained,
    ),
    "modules.json": ({}, read_pooling_config),
    "sentence_bert_config.json": ({}, read_pooling_config),
    "config_sentence_transformers.json": ({}, read_pooling_config),
    "1_Pooling/config.json": ({"modules.json": [{"type": "a.Pooling", "path": "1_Pooling"}]}, read_pooling_config),
    "2_Dense/config.json": ({"modules.json": DENSE["modules.json"]}, read_pooling_config),
    "2_Dense/model.safetensors": (DENSE, read_pooling_config),
    "speaker_embeddings_path.json": ({}, lambda folder: voice("v", folder)),
    "speaker_embeddings/v.npy": (VOICES, lambda folder: voice("v", folder)),
    "voices/a.bin": ({}, _voice),
    "voices-v1.0.bin": ({}, lambda folder: _read_voices(folder, "voices-v1.0.bin")),
    "alphabet.json": ({"tokenizer_config.json": {"processor_class": "AWithLM"}}, _language_model),
    "language_model/unigrams.txt": (
        {"tokenizer_config.json": {"processor_class": "AWithLM"}, "alphabet.json": {}},
        _language_model,
    ),
}  # fmt: skip


def _huge(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(8 << 30)  # sparse: nothing is written


ATTACKS: dict[str, Callable[[Path], None]] = {
    "a link out of the folder": lambda path: path.symlink_to("/etc/passwd"),
    "a link to a folder": lambda path: path.symlink_to("/etc"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a device": lambda path: path.symlink_to("/dev/zero"),
    "a pipe": os.mkfifo,
    "eight gigabytes": _huge,
}


def place(folder: Path, name: str, attack: str) -> None:
    """Put a hostile file in the place of `name`."""
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    ATTACKS[attack](path)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("name", READERS)
def test_hostile_side_files(tmp_path: Path, name: str, attack: str) -> None:
    others, read = READERS[name]
    write_folder(tmp_path, {"onnx/model.onnx": embedding(), **others})
    place(tmp_path, name, attack)
    with pytest.raises(BundleError, match=re.escape(Path(name).name)):
        read(tmp_path)


@pytest.mark.parametrize("name", READERS)
def test_side_files_are_downloaded_and_hashed(name: str) -> None:
    names = ["modules.json", "tokenizer.json"] if name not in ("vocab.txt", "merges.txt") else []
    names += ["model_index.json"] if name.startswith("scheduler/") else []
    assert name in side_files({*names, name}, "model")


def test_no_other_file_is_read() -> None:
    """The names in the calls of the readers, in all code of the runtime, are those above."""
    names = set()
    calls = {
        "has_file",
        "inside",
        "read_bytes",
        "read_text",
        "read_json",
        "read_json_value",
        "optional_json",
        "_json",
        "_read",
        "_lines",
    }
    trees = [ast.parse(source.read_text("utf-8")) for source in sorted(Path(onnxpipe.__file__).parent.rglob("*.py"))]
    constants = dict(pair for tree in trees for statement in tree.body for pair in _assigned(statement))
    for tree in trees:
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in calls
                and len(node.args) > 1
            ):
                name: ast.expr | None = node.args[1]
                name = constants.get(name.id) if isinstance(name, ast.Name) else name
                if isinstance(name, ast.Constant) and isinstance(name.value, str) and "." in name.value:
                    names.add(name.value)
    assert len(names) >= 18
    assert names <= READERS.keys()


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement of a module gives to values."""
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            if isinstance(target, ast.Name):
                yield target.id, statement.value
            elif isinstance(target, ast.Tuple) and isinstance(statement.value, ast.Tuple):
                pairs = zip(target.elts, statement.value.elts)
                yield from ((name.id, value) for name, value in pairs if isinstance(name, ast.Name))


def test_the_hub_cache_may_link(tmp_path: Path) -> None:
    folder = tmp_path / "models--a--b/snapshots/0/sub"
    blobs = tmp_path / "models--a--b/blobs"
    folder.mkdir(parents=True)
    blobs.mkdir()
    (blobs / "1").write_bytes(b"{}")
    (folder / "config.json").symlink_to("../../../blobs/1")
    assert read_bytes(folder, "config.json") == b"{}"
