"""Folders as they lie on the Hub: each loads the right file, or fails with the right sentence."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
import onnx

from attacks.graphs import embedding, externalise, weights, write_folder, write_manifest
from onnxpipe import AutoModel, pipeline
from onnxpipe.bundle.known_folders import known_folder
from onnxpipe.errors import (
    BundleError,
    ModelNotFoundError,
    NotExportedError,
    OnnxPipeError,
    PrecisionError,
    UnsupportedError,
)
from onnxpipe.factory import tasks_of
from unit.fakes import tokenizer

SENTENCES = tuple(
    f"onnx/model{end}.onnx"
    for end in ("", "_O1", "_O2", "_O3", "_O4", "_qint8_arm64", "_qint8_avx512", "_qint8_avx512_vnni", "_quint8_avx2")
)
EIGHT_BITS = SENTENCES[5:]
GENAI = "cpu_and_mobile/cpu-int4-rtn-block-32-acc-level-4/"
GENAI_CONFIG: dict[str, Any] = {"model": {"type": "bert", "vocab_size": 50, "decoder": {"filename": "bert.onnx"}}}

#: The processors' 8-bit kernels.
VNNI = frozenset({"VNNI", "AVX512", "AVX2"})
AVX512 = frozenset({"AVX512", "AVX2"})
AVX2 = frozenset({"AVX2"})
ARM = frozenset({"Arm"})

LOADS: dict[str, tuple[tuple[str, ...], dict[str, Any], str]] = {
    # optimum and sentence-transformers
    "optimised": (("model_optimized.onnx",), {}, "model_optimized.onnx"),
    "optimised, as fp32": (("model_optimized.onnx",), {"dtype": "fp32"}, "model_optimized.onnx"),
    "optimised and quantized": (("model_optimized_quantized.onnx",), {"dtype": "q8"}, "model_optimized_quantized.onnx"),
    "fp32 goes first": (SENTENCES, {}, "onnx/model.onnx"),
    "then what is exact": (SENTENCES[1:], {}, "onnx/model_O2.onnx"),
    "then float16": (SENTENCES[4:], {}, "onnx/model_O4.onnx"),
    "a level by its name": (SENTENCES, {"dtype": "O4"}, "onnx/model_O4.onnx"),
    "in small letters": (SENTENCES, {"dtype": "o3"}, "onnx/model_O3.onnx"),
    "float16 by the level": (SENTENCES, {"dtype": "fp16"}, "onnx/model_O4.onnx"),
    "8 bits by name": (SENTENCES, {"dtype": "qint8_avx512_vnni"}, "onnx/model_qint8_avx512_vnni.onnx"),
    "uint8": (SENTENCES, {"dtype": "uint8"}, "onnx/model_quint8_avx2.onnx"),
    "VNNI": (EIGHT_BITS, {"dtype": "int8", "here": VNNI}, "onnx/model_qint8_avx512_vnni.onnx"),
    "VNNI, any precision": (EIGHT_BITS, {"here": VNNI}, "onnx/model_qint8_avx512_vnni.onnx"),
    "AVX512": (EIGHT_BITS, {"dtype": "q8", "here": AVX512}, "onnx/model_qint8_avx512.onnx"),
    "AVX2": (EIGHT_BITS, {"dtype": "quantized", "here": AVX2}, "onnx/model_quint8_avx2.onnx"),
    "Arm": (EIGHT_BITS, {"dtype": "int8", "here": ARM}, "onnx/model_qint8_arm64.onnx"),
    "made for another": (EIGHT_BITS[:1], {"dtype": "int8", "here": VNNI}, "onnx/model_qint8_arm64.onnx"),
    "for all goes first": ((*EIGHT_BITS, "onnx/model_int8.onnx"), {"dtype": "q8"}, "onnx/model_int8.onnx"),
    # transformers.js
    **{
        f"transformers.js {dtype}": ((f"onnx/model_{dtype}.onnx",), {"dtype": dtype}, f"onnx/model_{dtype}.onnx")
        for dtype in ("q2", "q1", "q2f16", "q1f16", "q4f16", "bnb4")
    },
    "a name of its own": (("onnx/model.onnx", "onnx/mine_q4.onnx"), {"model_file_name": "mine"}, "onnx/mine_q4.onnx"),
    # elsewhere
    "file_name": (SENTENCES, {"file_name": "model_O1.onnx"}, "onnx/model_O1.onnx"),
    "file_name with its folder": (SENTENCES, {"file_name": "onnx/model_O1.onnx"}, "onnx/model_O1.onnx"),
    "file_name in a subfolder": (SENTENCES, {"file_name": "model_O1.onnx", "subfolder": "onnx"}, "onnx/model_O1.onnx"),
    "file_name of any name": (("onnx/model.onnx", "a/b.onnx"), {"file_name": "b.onnx"}, "a/b.onnx"),
    "subfolder": (("model.onnx", "v2/model.onnx"), {"subfolder": "v2"}, "v2/model.onnx"),
    "subfolder with onnx in it": (("model.onnx", "v2/onnx/model.onnx"), {"subfolder": "./v2/"}, "v2/onnx/model.onnx"),
    "the only other folder": (("v2/model_fp16.onnx",), {}, "v2/model_fp16.onnx"),
    "folders of precisions": (("fp16/model.onnx", "fp32/model.onnx"), {}, "fp32/model.onnx"),
    "one folder of a precision": (("onnx/model.onnx", "int8/model.onnx"), {"dtype": "int8"}, "int8/model.onnx"),
    "the only graph": (("all-MiniLM.onnx",), {}, "all-MiniLM.onnx"),
    "large letters": (("onnx/model_INT8.onnx", "onnx/model_FP16.onnx"), {"dtype": "int8"}, "onnx/model_INT8.onnx"),
    "a large ending": (("MODEL.ONNX",), {}, "MODEL.ONNX"),
    "hyphens": (("onnx/model-fp16.onnx", "onnx/model-int8.onnx"), {"dtype": "fp16"}, "onnx/model-fp16.onnx"),
    "one of few bits": (("onnx/model_q4f16.onnx",), {}, "onnx/model_q4f16.onnx"),
    "unpacked twice": (("mini/onnx/model.onnx", "mini/tokenizer.json"), {}, "mini/onnx/model.onnx"),
    "with what systems leave": (("onnx/model.onnx", "onnx/._model.onnx", "__MACOSX/._a"), {}, "onnx/model.onnx"),
    "the only graph, quantized": (("onnx/MiniLM_quantized.onnx",), {"dtype": "int8"}, "onnx/MiniLM_quantized.onnx"),
}  # fmt: skip

FAILS: dict[str, tuple[tuple[str, ...], dict[str, Any], type[OnnxPipeError], str]] = {
    "another level": (SENTENCES[:3], {"dtype": "O4"}, PrecisionError, "no graph 'model' with dtype='O4'; it has fp32"),
    "8bit": (SENTENCES, {"dtype": "8bit"}, PrecisionError, "did you mean 'int8'"),
    "4bit": (SENTENCES, {"dtype": "4-bit"}, PrecisionError, "did you mean 'q4'"),
    "a typo": (SENTENCES, {"dtype": "qint8_avx512_vni"}, PrecisionError, "did you mean 'qint8_avx512_vnni'"),
    "a precision without a graph": (SENTENCES, {"dtype": "model=fp16,q8"}, PrecisionError, "write GRAPH=PRECISION"),
    "several graphs": (("a.onnx", "b.onnx"), {}, PrecisionError, "it has a, b. Name one with model_file_name="),
    "several folders": (("a/model.onnx", "b/model.onnx"), {}, ModelNotFoundError, "pass subfolder=, one of a, b"),
    "no such file": (SENTENCES, {"file_name": "model_O9.onnx"}, ModelNotFoundError, "the graphs are onnx/model.onnx"),
    "twice": (("a/x.onnx", "b/x.onnx"), {"file_name": "x.onnx"}, ModelNotFoundError, "one of a/x.onnx, b/x.onnx"),
    "no such folder": (SENTENCES, {"subfolder": "v2"}, ModelNotFoundError, "subfolder='v2'; graphs lie in onnx"),
    "no such name": (SENTENCES, {"model_file_name": "a"}, ModelNotFoundError, "the graphs are model"),
    "a file of weights": (SENTENCES, {"file_name": "model.bin"}, UnsupportedError, "not the name of an .onnx file"),
    "out of the folder": (SENTENCES, {"subfolder": "../x"}, UnsupportedError, "must lie in the model's folder"),
    "the file has one precision": (
        SENTENCES, {"file_name": "model_O1.onnx", "dtype": "O2"}, PrecisionError, "with dtype='O2'; it has O1"),
    "OpenVINO": (("openvino/openvino_model.xml",), {}, ModelNotFoundError, "OpenVINO's form, which is not read here"),
    "GGUF": (("model-Q4_K_M.gguf",), {}, ModelNotFoundError, r"llama\.cpp's form \(GGUF\)"),
    "CTranslate2": (("model.bin", "vocabulary.json"), {}, ModelNotFoundError, "CTranslate2's form"),
    "TensorFlow": (("saved_model.pb", "variables/a.index"), {}, ModelNotFoundError, "TensorFlow's form"),
    "Core ML": (("x.mlpackage/Data/model.mlmodel",), {}, ModelNotFoundError, "Core ML's form"),
    "an adapter": (("adapter_config.json", "adapter_model.safetensors"), {}, ModelNotFoundError, "adapter of PEFT"),
    "weights of another library": (("best.pt",), {}, ModelNotFoundError, r"best\.pt.* transformers does not load"),
    "a download that ended early": (
        ("onnx/model.onnx.incomplete",), {}, ModelNotFoundError, r"a download that did not end \(onnx/model.onnx.inc"),
    "weights alone": (("model-00001-of-00002.safetensors",), {"onnx": None}, NotExportedError, "onnxpipe export"),
    "folders of two runs": (
        ("run-5/model.onnx", "run-9/model.onnx"), {}, ModelNotFoundError, "pass subfolder=, one of run-5, run-9"),
    "ort": (("model.ort",), {}, ModelNotFoundError, r"ONNX Runtime's own form \(\.ort\)"),
    "genai with several graphs": (
        ("genai_config.json", "x-vision.onnx", "x-text.onnx"), {}, PrecisionError, "onnxruntime-genai.*onnx-community"),
}  # fmt: skip


def make(folder: Path, names: tuple[str, ...], config: Any = None) -> Path:
    return write_folder(
        folder, {name: embedding() if name.lower().endswith(".onnx") else b"x" for name in names}, config
    )


def path(model: Any, folder: Path) -> str:
    return Path(model.session.path).relative_to(folder).as_posix()


@pytest.mark.parametrize("case", LOADS.values(), ids=LOADS)
def test_layouts_that_load(case: tuple[Any, Mapping[str, Any], str], tmp_path: Path, monkeypatch: Any) -> None:
    names, arguments, expected = case
    arguments = dict(arguments)
    if "here" in arguments:
        here = arguments.pop("here")
        monkeypatch.setattr("onnxpipe.bundle.precision.kernels", lambda: here)
    assert path(AutoModel.from_pretrained(make(tmp_path, names), **arguments), tmp_path) == expected


@pytest.mark.parametrize("case", FAILS.values(), ids=FAILS)
def test_layouts_that_do_not_load(
    case: tuple[Any, Any, Any, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names, arguments, error, message = case
    monkeypatch.setattr("onnxpipe.bundle.exporter._missing", lambda: ["torch"])
    with pytest.raises(error, match=message):
        AutoModel.from_pretrained(make(tmp_path, names), **arguments)


POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"


@pytest.mark.parametrize("name", ["onnx/model.onnx", "onnx/model.onnx_data", "config.json"])
@pytest.mark.parametrize(
    ("content", "message"), [(POINTER, "pointer of Git LFS"), (b"<!DOCTYPE html><p>", "a page of the web")]
)
def test_something_else_in_the_place_of_a_file(name: str, content: bytes, message: str, tmp_path: Path) -> None:
    graph = externalise(embedding(), "model.onnx_data")
    folder = write_folder(tmp_path, {"onnx/model.onnx": graph, "onnx/model.onnx_data": weights().tobytes()})
    (folder / name).write_bytes(content)
    with pytest.raises(BundleError, match=message):
        AutoModel.from_pretrained(folder)


def test_weights_in_two_pieces(tmp_path: Path) -> None:
    bias, proto = np.arange(4, dtype=np.float32), embedding()
    proto.graph.node[-1].output[0] = "plain"
    proto.graph.node.append(onnx.helper.make_node("Add", ["plain", "bias"], ["last_hidden_state"]))
    proto.graph.initializer.insert(0, onnx.numpy_helper.from_array(bias, "bias"))
    proto = externalise(proto, "model.onnx_data_1")
    proto.graph.initializer.append(proto.graph.initializer.pop(0))
    proto = externalise(proto, "model.onnx_data")
    data = {"onnx/model.onnx_data": weights().tobytes(), "onnx/model.onnx_data_1": bias.tobytes()}
    folder = write_folder(tmp_path, {"onnx/model.onnx": proto, **data})
    hidden = AutoModel.from_pretrained(folder)(np.array([[7]])).last_hidden_state
    assert np.array_equal(hidden, (weights()[7] + bias)[None, None])


def test_links_whose_files_are_gone(tmp_path: Path) -> None:
    """A snapshot of the Hub's cache that was cleaned."""
    snapshot = write_folder(tmp_path / "models--a--b/snapshots" / ("1" * 40), {})
    (snapshot / "onnx").mkdir()
    (snapshot / "onnx/model.onnx").symlink_to("../../../blobs/gone")
    with pytest.raises(ModelNotFoundError, match=r"links to files that are gone, onnx/model\.onnx"):
        AutoModel.from_pretrained(snapshot)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.zip", "an archive: unpack it"),
        ("model.tar.gz", "an archive: unpack it"),
        ("model.gguf", "llama.cpp's form"),
        ("model.safetensors", "pass the folder that holds it"),
    ],
)
def test_a_file_in_the_place_of_a_folder(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(ModelNotFoundError, match=message):
        AutoModel.from_pretrained(str(tmp_path / name))


def test_the_address_of_a_page() -> None:
    with pytest.raises(ModelNotFoundError, match="is an address: pass the Hub id, model='Xenova/all-MiniLM-L6-v2'"):
        AutoModel.from_pretrained("https://huggingface.co/Xenova/all-MiniLM-L6-v2/tree/main")


def test_a_file_for_another_processor_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("onnxpipe.bundle.precision.kernels", lambda: AVX2)
    AutoModel.from_pretrained(make(tmp_path, EIGHT_BITS), dtype="qint8_arm64")
    assert not caplog.messages
    AutoModel.from_pretrained(make(tmp_path / "b", EIGHT_BITS[:1]), dtype="int8")
    assert "qint8_arm64, made for Arm, which this processor lacks" in caplog.text


def words(folder: Path, names: tuple[str, ...], config: Any = None) -> Path:
    """A folder with a tokenizer in it."""
    make(folder, names, config)
    tokenizer().save_pretrained(folder)
    return folder


def test_pipelines_take_the_same_names(tmp_path: Path) -> None:
    folder = words(tmp_path, SENTENCES)
    for keywords in (
        {"file_name": "model_O3.onnx"},
        {"model_kwargs": {"file_name": "onnx/model_O3.onnx"}},
        {"dtype": {"model": "O3"}},
        {"dtype": "model=O3"},
        {"model_kwargs": {"subfolder": "onnx", "dtype": "O3"}},
        {"model_kwargs": {"model_file_name": "model"}, "dtype": "O3"},
    ):
        pipe = pipeline("feature-extraction", model=folder, **keywords)
        assert path(pipe.model, folder) == "onnx/model_O3.onnx"
        assert pipe("good")
    with pytest.raises(UnsupportedError, match="pass them to its from_pretrained"):
        pipeline("feature-extraction", model=pipe.model, file_name="model_O3.onnx")


def test_a_path_to_the_graph(tmp_path: Path) -> None:
    folder = words(tmp_path, SENTENCES)
    pipe = pipeline("feature-extraction", model=folder / "onnx/model_O3.onnx")
    assert path(pipe.model, folder) == "onnx/model_O3.onnx"
    assert pipe("good")
    assert tasks_of(folder / "onnx/model_O3.onnx") == ("feature-extraction",)
    other = words(tmp_path / "v2/x", ("y.onnx", "z.onnx"))
    assert path(AutoModel.from_pretrained(str(other / "z.onnx")), other) == "z.onnx"


def test_the_folder_of_the_tokenizer_is_found_too(tmp_path: Path) -> None:
    """In onnxruntime-genai's repositories config and tokenizer lie beside the graphs, not in the root."""
    words(tmp_path / GENAI, ("bert.onnx",))
    (tmp_path / GENAI / "config.json").unlink()
    write_folder(tmp_path / GENAI, {}, None)
    (tmp_path / "README.md").write_text("x")
    pipe = pipeline("feature-extraction", model=tmp_path)
    assert path(pipe.model, tmp_path) == f"{GENAI}bert.onnx"
    assert pipe("good")
    assert tasks_of(tmp_path) == ("feature-extraction",)
    make(tmp_path / "cuda/cuda-fp16", ("bert.onnx",))
    with pytest.raises(ModelNotFoundError, match=r"several folders.*cpu_and_mobile.*cuda/cuda-fp16"):
        pipeline("feature-extraction", model=tmp_path)
    again = pipeline("feature-extraction", model=tmp_path, subfolder=GENAI)
    assert again.model.bundle.folder == tmp_path / GENAI
    assert again("good") == pipe("good")


def test_the_config_of_onnxruntime_genai(tmp_path: Path) -> None:
    folder = words(tmp_path, ("bert.onnx",))
    write_folder(folder, {"genai_config.json": GENAI_CONFIG})
    (folder / "config.json").unlink()
    model = AutoModel.from_pretrained(folder)
    assert model.config.model_type == "bert"
    assert model.bundle.tasks == ("text-generation",)


def test_a_folder_without_a_config(tmp_path: Path) -> None:
    folder = words(tmp_path / "a", ("model.onnx",))
    config = (folder / "config.json").rename(tmp_path / "config.json")
    with pytest.raises(ModelNotFoundError, match=r"no config\.json, which says .* or pass config="):
        pipeline("feature-extraction", model=folder)
    assert pipeline("feature-extraction", model=folder, config=str(config.parent))("good")


def test_a_config_with_nan(tmp_path: Path) -> None:
    folder = words(tmp_path, ("model.onnx",))
    (folder / "config.json").write_text('{"model_type": "bert", "initializer_range": NaN}')
    value = AutoModel.from_pretrained(folder).config.initializer_range
    assert value != value


def test_a_manifest_goes_before_names_and_places_before_it(tmp_path: Path) -> None:
    folder = write_manifest(make(tmp_path, ("onnx/model.onnx", "onnx/other.onnx")))
    assert path(AutoModel.from_pretrained(folder), folder) == "onnx/model.onnx"
    assert path(AutoModel.from_pretrained(folder, file_name="other.onnx"), folder) == "onnx/other.onnx"


def test_graphs_in_one_subfolder_beside_a_tokenizer(tmp_path: Path) -> None:
    names = ("encoder_model", "decoder_model_merged")
    write_folder(tmp_path / "model", {f"onnx/{name}.onnx": embedding() for name in names})
    for folder in (tmp_path, tmp_path / "model"):
        (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    assert known_folder(tmp_path) is None  # its encoder, which is read, is not that of a model of speech
