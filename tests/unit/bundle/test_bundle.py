"""Opening model folders: layouts, precisions, tasks, manifests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from attacks.graphs import embedding, external_folder, write_folder, write_manifest
from onnxpipe.bundle import canonical_dtype, exporter, fetch, load_exporter, open_bundle
from onnxpipe.bundle.external import check_external, data_locations
from onnxpipe.bundle.layout import data_files, has_weights, side_files
from onnxpipe.bundle.places import locate
from onnxpipe.bundle.precision import AUTO_ORDER, MADE_FOR, SUFFIXES
from onnxpipe.errors import (
    BundleError,
    MissingDependencyError,
    ModelNotFoundError,
    NotExportedError,
    PrecisionError,
)

GRAPH = b"a graph; it is not read"


class Like:
    """Prints as torch's dtypes do."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __str__(self) -> str:
        return self.text


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("auto", "auto"), (None, "auto"), ("float32", "fp32"), ("fp32", "fp32"), ("float16", "fp16"), ("half", "fp16"),
     ("FP16", "fp16"), (np.float16, "fp16"), (np.dtype("float32"), "fp32"), (np.int8, "int8"), ("int4", "q4"),
     ("q4f16", "q4f16"), ("bnb4", "bnb4"), ("quantized", "q8"), ("torch.float16", "fp16"), (float, "fp32"),
     (Like("torch.float16"), "fp16"), (Like("torch.float32"), "fp32")],
)  # fmt: skip
def test_names_of_precisions(name: Any, dtype: str) -> None:
    assert canonical_dtype(name) == dtype


@pytest.mark.parametrize("name", ["bfloat16", Like("torch.bfloat16"), "float64", np.float64, "fp8", "", 16, "int16"])
def test_precisions_that_do_not_exist(name: Any) -> None:
    with pytest.raises(PrecisionError, match=r"bfloat16; use fp32|use fp32|known: auto, fp32"):
        canonical_dtype(name)
    with pytest.raises(ValueError):
        canonical_dtype(name)


def test_auto_covers_every_precision() -> None:
    assert set(AUTO_ORDER) == set(SUFFIXES)


def test_files_of_every_layout() -> None:
    names = [
        "model.onnx", "onnx/model.onnx", "onnx/model_q4f16.onnx", "onnx/decoder_model_merged_quantized.onnx",
        "onnx/encoder_model.onnx", "model_fp16.onnx", "deep/er/model_int8.onnx", "onnx/x.txt", "_fp16.onnx",
    ]  # fmt: skip
    assert locate(names).graphs == {
        "model": {"fp32": "onnx/model.onnx", "q4f16": "onnx/model_q4f16.onnx", "fp16": "model_fp16.onnx"},
        "decoder_model_merged": {"q8": "onnx/decoder_model_merged_quantized.onnx"},
        "encoder_model": {"fp32": "onnx/encoder_model.onnx"},
        "_fp16": {"fp32": "_fp16.onnx"},
    }


@pytest.mark.parametrize("suffix", SUFFIXES.items())
def test_every_suffix(suffix: tuple[str, str]) -> None:
    assert locate([f"onnx/model{suffix[1]}.onnx"]).graphs == {"model": {suffix[0]: f"onnx/model{suffix[1]}.onnx"}}


@pytest.mark.parametrize(
    ("name", "found"),
    [("model.safetensors", True), ("pytorch_model.bin", True), ("model-00001-of-00002.safetensors", True),
     ("pytorch_model.bin.index.json", True), ("tf_model.h5", True), ("training_args.bin", False),
     ("1_Dense/model.safetensors", False), ("optimizer.pt", False)],
)  # fmt: skip
def test_weights(name: str, found: bool) -> None:
    assert has_weights(["config.json", name]) is found


def test_side_files() -> None:
    names = [
        "config.json", "generation_config.json", "tokenizer.json", "vocab.txt", "spiece.model", "modules.json",
        "bundle.json", "certificate.json", "golden.npz", "1_Pooling/config.json", "onnx/config.json", "README.md",
        "model.safetensors", "preprocessor_config.json", "chat_template.jinja",
    ]  # fmt: skip
    assert side_files(names, "config") == ["config.json", "generation_config.json"]
    assert side_files(names, "tokenizer") == ["chat_template.jinja", "config.json", "tokenizer.json"]
    assert set(names) - set(side_files(names, "model")) == {
        "vocab.txt", "spiece.model", "onnx/config.json", "README.md", "model.safetensors",
    }  # fmt: skip
    names.remove("tokenizer.json")
    assert {"vocab.txt", "spiece.model"} < set(side_files(names, "tokenizer"))


def test_data_files() -> None:
    names = ["a.onnx", "a.onnx_data", "a.onnx_data_1", "a.onnx.data", "b.onnx_data", "a.onnx_database", "xa.onnx_data"]
    assert data_files("a.onnx", names) == ["a.onnx_data", "a.onnx_data_1", "a.onnx.data"]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    return write_folder(tmp_path, {f"onnx/model{end}.onnx": GRAPH for end in ("_fp16", "_quantized", "_q4")})


def test_choosing(many: Path) -> None:
    bundle = open_bundle(many)
    assert bundle.choose("model") == ("fp16", many / "onnx/model_fp16.onnx")
    assert bundle.choose("model", "int8") == ("q8", many / "onnx/model_quantized.onnx")
    assert bundle.choose("model", "int4")[0] == "q4"
    with pytest.raises(PrecisionError, match=r"it has fp16, q8, q4.*--precision fp32"):
        bundle.choose("model", "fp32")
    with pytest.raises(PrecisionError, match="no graph 'decoder'; it has model"):
        bundle.choose("decoder")


def test_the_order_of_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onnxpipe.bundle.precision.kernels", lambda: frozenset(MADE_FOR.values()))
    for i, precision in enumerate(AUTO_ORDER):
        ends = [SUFFIXES[name] for name in AUTO_ORDER[i:]]
        folder = write_folder(tmp_path / str(i), {f"model{end}.onnx": GRAPH for end in ends})
        assert open_bundle(folder).choose("model")[0] == precision


def test_folders_without_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="no folder"):
        open_bundle(tmp_path / "none")
    with pytest.raises(ModelNotFoundError, match="neither ONNX graphs"):
        open_bundle(write_folder(tmp_path / "a"))
    weights = write_folder(tmp_path / "b", {"model.safetensors": b"x"})
    with pytest.raises(NotExportedError, match=f"onnxpipe export {weights} -o DIR"):
        open_bundle(weights)
    with pytest.raises(OSError):
        open_bundle(weights)
    (tmp_path / "c").mkdir()
    (tmp_path / "c/model.onnx").write_bytes(GRAPH)
    with pytest.raises(ModelNotFoundError, match=r"config\.json"):
        open_bundle(tmp_path / "c")


def test_a_folder_is_fetched_as_it_is(many: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetch(many) == many
    assert fetch(str(many), need="tokenizer", local_files_only=True) == many
    monkeypatch.chdir(many.parent)
    assert fetch(many.name) == Path(many.name)
    monkeypatch.setenv("HOME", str(many.parent))
    assert fetch(f"~/{many.name}") == many


@pytest.mark.parametrize(
    ("config", "files", "tasks"),
    [
        ({"architectures": ["BertForSequenceClassification"]}, {}, ("text-classification",)),
        ({"architectures": ["BertForTokenClassification"]}, {}, ("token-classification",)),
        ({"architectures": ["BertForQuestionAnswering"]}, {}, ("question-answering",)),
        ({"architectures": ["BertForMaskedLM"]}, {}, ("fill-mask",)),
        ({"architectures": ["XLMWithLMHeadModel"]}, {}, ("fill-mask",)),
        ({"architectures": ["GPT2LMHeadModel"]}, {}, ("text-generation",)),
        ({"architectures": ["LlamaForCausalLM"]}, {}, ("text-generation",)),
        ({"architectures": ["MarianMTModel"], "model_type": "marian"}, {}, ("translation", "text2text-generation")),
        ({"architectures": ["T5ForConditionalGeneration"], "model_type": "t5"}, {},
         ("text2text-generation", "translation", "summarization")),
        ({"architectures": ["WhisperForConditionalGeneration"], "model_type": "whisper"}, {},
         ("automatic-speech-recognition",)),
        ({"architectures": ["BertModel"]}, {}, ("feature-extraction",)),
        ({"architectures": ["BertModel"]}, {"modules.json": {}},
         ("sentence-similarity", "embedding", "feature-extraction")),
        ({"architectures": ["BertForSequenceClassification"], "id2label": {"0": "x"}}, {},
         ("text-ranking", "text-classification")),
        ({"architectures": ["BartForSequenceClassification"], "id2label": {"0": "neutral", "1": "ENTAILMENT"}}, {},
         ("zero-shot-classification", "text-classification")),
        ({"model_type": "bert"}, {}, ()),
        ({"architectures": None}, {}, ()),
    ],
)  # fmt: skip
def test_tasks(tmp_path: Path, config: dict[str, Any], files: dict[str, Any], tasks: tuple[str, ...]) -> None:
    folder = write_folder(tmp_path, {"model.onnx": GRAPH, **files}, config)
    assert open_bundle(folder).tasks == tasks


def test_a_manifest(tmp_path: Path) -> None:
    folder = write_folder(tmp_path, {"onnx/model.onnx": embedding(), "onnx/model_fp16.onnx": GRAPH})
    bundle = open_bundle(write_manifest(folder, tasks=["fill-mask"]))
    assert bundle.tasks == ("fill-mask",)
    assert list(bundle.graphs["model"]) == ["fp32"]  # what the manifest does not name is not there
    assert bundle.certificate is None


def test_verifying_without_a_manifest_compares_nothing(many: Path) -> None:
    open_bundle(many).verify_file(many / "onnx/model_fp16.onnx")


def test_a_listed_file_that_is_gone(tmp_path: Path) -> None:
    folder = write_manifest(external_folder(tmp_path))
    bundle = open_bundle(folder)
    (folder / "onnx/model.onnx_data").unlink()
    with pytest.raises(BundleError, match="no such file beside it"):
        bundle.verify_file(folder / "onnx/model.onnx")


def test_external_data_of_an_intact_graph(tmp_path: Path) -> None:
    folder = external_folder(tmp_path, offset=0)
    graph = folder / "onnx/model.onnx"
    assert data_locations(graph) == ["model.onnx_data"]
    assert check_external(graph, folder) == {"model.onnx_data": folder / "onnx/model.onnx_data"}
    inline = write_folder(tmp_path / "inline", {"model.onnx": embedding()})
    assert check_external(inline / "model.onnx", inline) == {}


def test_the_exporter_is_asked_for_with_the_line_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(exporter.importlib.util, "find_spec", lambda name: None if name == "torch" else real(name))
    with pytest.raises(MissingDependencyError, match=r'torch.*, not installed here: pip install "onnxpipe\[export\]"'):
        load_exporter()
