"""Fetching from the Hub, against a small server that answers as the Hub does."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from attacks.graphs import embedding, externalise, weights, write_folder, write_manifest
from onnxpipe.bundle import AutoConfig, Place, fetch, open_bundle
from onnxpipe.errors import BundleError, ModelNotFoundError, NotExportedError, PrecisionError
from unit.hub_server import COMMIT, REPOS, Hub

SMALL = {
    "config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}',
    "tokenizer.json": b'{"a": 1}',  # files of the same content are downloaded once, so all differ
    "tokenizer_config.json": b'{"a": 2}',
    "vocab.txt": b"[PAD]",
    "README.md": b"# x",
    "model.safetensors": b"weights",
    "modules.json": b"[]",
    "1_Pooling/config.json": b'{"a": 3}',
    "onnx/README.md": b"x",
}
GRAPH = embedding().SerializeToString()
NOTHING = b"\x1a\x00"  # an empty field, by which files of one graph differ
MADE = ("O2", "qint8_arm64", "qint8_avx512_vnni", "quint8_avx2")
REPOS |= {
    "a/many": {**SMALL, **{f"onnx/model{end}.onnx": GRAPH for end in ("", "_fp16", "_quantized", "_q4")}},
    "a/external": {
        **SMALL,
        "onnx/model.onnx": externalise(embedding(), "weights of it.bin").SerializeToString(),
        "onnx/weights of it.bin": weights().tobytes(),
        "onnx/model_fp16.onnx": externalise(embedding(), "model_fp16.onnx_data").SerializeToString(),
        "onnx/model_fp16.onnx_data": weights().tobytes() + b"0",
    },
    "a/images": {
        "model_index.json": b'{"_class_name": "StableDiffusionPipeline"}',
        "scheduler/scheduler_config.json": b'{"a": 4}',
        "unet/config.json": b'{"a": 5}',
        "unet/diffusion_pytorch_model.safetensors": b"weights of a UNet",
        "unet/model.onnx": GRAPH,
        "unet/model_fp16.onnx": externalise(embedding(), "model_fp16.onnx_data").SerializeToString(),
        "unet/model_fp16.onnx_data": weights().tobytes() + b"1",
        "vae_decoder/model.onnx": embedding().SerializeToString(),
        "text_encoder/model.safetensors": b"weights of a text encoder",
    },
    "a/sentences": {
        **{name: content for name, content in SMALL.items() if name != "model.safetensors"},
        **{f"onnx/model_{end}.onnx": GRAPH + NOTHING * i for i, end in enumerate(MADE)},
        "openvino/openvino_model.xml": b"x",
    },
    "a/genai": {
        "README.md": b"# x",
        **{
            f"{folder}/{name}": content
            for folder in ("cpu_and_mobile/int4", "cuda/fp16")
            for name, content in {
                "genai_config.json": b'{"model": {"type": "phi3", "decoder": {"head_size": 96}}}',
                "tokenizer.json": b'{"a": 6}',
                "phi3-mini.onnx": externalise(embedding(), "phi3-mini.onnx.data").SerializeToString(),
                "phi3-mini.onnx.data": weights().tobytes() + b"2",
            }.items()
        },
    },
    "a/absent": {**SMALL, "model.onnx": externalise(embedding(), "gone").SerializeToString()},
    "a/hostile": {**SMALL, "model.onnx": externalise(embedding(), "../../x").SerializeToString()},
    "a/weights": SMALL,
    "a/nothing": {"README.md": b"x"},
    "a/private": {**SMALL, "onnx/model.onnx": GRAPH},
}


SIDE = {"config.json", "tokenizer.json", "tokenizer_config.json", "modules.json", "1_Pooling/config.json"}


@pytest.mark.parametrize(
    ("dtype", "graph"),
    [("auto", "model.onnx"), ("fp16", "model_fp16.onnx"), ("int8", "model_quantized.onnx"), ("int4", "model_q4.onnx")],
)
def test_only_the_chosen_precision_is_downloaded(hub: Hub, tmp_path: Path, dtype: str, graph: str) -> None:
    folder = fetch("a/many", dtype=dtype, cache_dir=tmp_path)
    assert hub.downloaded() == SIDE | {f"onnx/{graph}"}
    assert folder == tmp_path / "models--a--many/snapshots" / COMMIT["main"]
    assert (folder / "onnx" / graph).read_bytes() == GRAPH
    assert open_bundle(folder).tasks == ("sentence-similarity", "embedding", "feature-extraction")


@pytest.mark.parametrize(
    ("kernels", "graph"), [("VNNI", "qint8_avx512_vnni"), ("AVX2", "quint8_avx2"), ("Arm", "qint8_arm64")]
)
def test_the_file_for_this_processor_is_downloaded(
    hub: Hub, monkeypatch: pytest.MonkeyPatch, kernels: str, graph: str
) -> None:
    monkeypatch.setattr("onnxpipe.bundle.precision.kernels", lambda: frozenset({kernels}))
    fetch("a/sentences", dtype="int8")
    assert hub.downloaded() == SIDE | {f"onnx/model_{graph}.onnx"}
    fetch("a/sentences")
    assert hub.downloaded() == {"onnx/model_O2.onnx"}


def test_the_folder_that_was_named_is_downloaded(hub: Hub) -> None:
    with pytest.raises(ModelNotFoundError, match="pass subfolder=, one of cpu_and_mobile, cuda"):
        fetch("a/genai")
    assert hub.downloaded() == set()
    for place in (Place(subfolder="cuda"), Place(subfolder="cuda/fp16"), Place(file_name="cuda/fp16/phi3-mini.onnx")):
        folder = fetch("a/genai", place=place)
        bundle = open_bundle(folder, place)
        assert bundle.folder == folder / "cuda/fp16"
        assert bundle.choose("model") == ("fp16", bundle.folder / "phi3-mini.onnx")
        assert bundle.config.head_dim == 96
    names = ("genai_config.json", "tokenizer.json", "phi3-mini.onnx", "phi3-mini.onnx.data")
    assert hub.downloaded() == {f"cuda/fp16/{name}" for name in names}
    assert fetch("a/genai", place=place, local_files_only=True) == folder


def test_the_components_of_a_diffusion_pipeline(hub: Hub) -> None:
    side = {"model_index.json", "scheduler/scheduler_config.json", "unet/config.json"}
    folder = fetch("a/images", dtype="fp16")
    assert hub.downloaded() - side == {
        "unet/model_fp16.onnx", "unet/model_fp16.onnx_data", "vae_decoder/model.onnx",
    }  # fmt: skip
    assert open_bundle(folder).choose("unet", "fp16")[0] == "fp16"
    assert AutoConfig.from_pretrained("a/images").architectures == ["StableDiffusionPipeline"]
    with pytest.raises(PrecisionError, match="no graph 'unet' with dtype='int8'"):
        fetch("a/images", dtype="int8")


def test_config_and_tokenizer_alone(hub: Hub) -> None:
    fetch("a/many", need="config")
    assert hub.downloaded() == {"config.json"}
    fetch("a/many", need="tokenizer")
    assert hub.downloaded() == {"tokenizer.json", "tokenizer_config.json"}
    assert AutoConfig.from_pretrained("a/many").model_type == "bert"
    assert hub.downloaded() == set()


def test_a_second_load_asks_once_and_offline_never(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fetch("a/many")
    hub.log.clear()
    assert fetch("a/many") == first
    assert [(method, path) for method, path, _ in hub.log] == [("GET", "/api/models/a/many")]
    hub.log.clear()
    assert fetch("a/many", local_files_only=True) == first
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert fetch("a/many") == first
    assert hub.log == []
    with pytest.raises(PrecisionError, match=r"it has fp32.*in the cache"):
        fetch("a/many", dtype="fp16")
    with pytest.raises(ModelNotFoundError, match="Load it once with a connection"):
        fetch("a/external")


def test_external_data_with_and_without_the_usual_name(hub: Hub) -> None:
    folder = fetch("a/external", dtype="fp16")
    assert hub.downloaded() == SIDE | {"onnx/model_fp16.onnx", "onnx/model_fp16.onnx_data"}
    assert fetch("a/external", dtype="fp32") == folder
    assert hub.downloaded() == {"onnx/model.onnx", "onnx/weights of it.bin"}
    assert (folder / "onnx/weights of it.bin").is_symlink()
    from onnxpipe.engine import open_session, parse_device

    path = open_bundle(folder).choose("model", "fp32")[1]
    assert open_session(path, root=folder, device=parse_device("cpu")).inputs


def test_a_graph_in_the_cache_without_its_data(hub: Hub) -> None:
    folder = fetch("a/external", dtype="fp32")
    (folder / "onnx/weights of it.bin").unlink()
    with pytest.raises(ModelNotFoundError, match="weights of it"):
        fetch("a/external", dtype="fp32", local_files_only=True)


def test_a_bundle_with_a_manifest(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = {"onnx/model.onnx": embedding(), "onnx/model_fp16.onnx": embedding(), "tokenizer.json": {"b": 1}}
    graphs = {"model": {name: {"path": f"onnx/model{end}.onnx"} for name, end in (("fp32", ""), ("fp16", "_fp16"))}}
    source = write_manifest(write_folder(tmp_path / "made", files), graphs=graphs)
    content = {p.relative_to(source).as_posix(): p.read_bytes() for p in source.rglob("*") if p.is_file()}
    monkeypatch.setitem(REPOS, "a/certified", content)
    bundle = open_bundle(fetch("a/certified", dtype="fp16"))
    assert "onnx/model.onnx" not in hub.downloaded()
    assert bundle.choose("model")[0] == "fp16"
    bundle.verify_file(bundle.choose("model")[1])
    content["tokenizer.json"] = b"{}"
    monkeypatch.setitem(COMMIT, "main", "4" * 40)
    with pytest.raises(BundleError, match=r"tokenizer\.json"):
        open_bundle(fetch("a/certified", dtype="fp16"))


def test_data_that_the_hub_does_not_have(hub: Hub) -> None:
    with pytest.raises(BundleError, match="gone, which the Hub does not have"):
        fetch("a/absent")
    with pytest.raises(BundleError, match="that is never right"):
        fetch("a/hostile")


def test_revisions(hub: Hub) -> None:
    assert fetch("a/many", revision="v2").name == COMMIT["v2"]
    assert fetch("a/many").name == COMMIT["main"]
    assert fetch("a/many", revision="v2", local_files_only=True).name == COMMIT["v2"]
    assert fetch("a/many", revision=COMMIT["v2"]).name == COMMIT["v2"]
    with pytest.raises(ModelNotFoundError, match="no revision 'v9'"):
        fetch("a/many", revision="v9")


def test_a_branch_that_moved_is_downloaded_again(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    fetch("a/many")
    hub.downloaded()
    monkeypatch.setitem(COMMIT, "main", "3" * 40)
    monkeypatch.setitem(REPOS["a/many"], "config.json", b'{"model_type": "roberta"}')
    folder = fetch("a/many")
    assert folder.name == "3" * 40
    assert hub.downloaded() == {"config.json"}  # the others are in the cache already, by their hashes
    assert fetch("a/many", local_files_only=True) == folder


def test_tokens(hub: Hub, tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="if it is private"):
        fetch("a/private")
    fetch("a/private", token="hf_secret")
    assert all(token == "Bearer hf_secret" for _, _, token in hub.log if token)
    assert hub.downloaded()
    fetch("a/many", token=False)
    assert {token for _, _, token in hub.log} == {None}


def test_what_the_hub_does_not_have(hub: Hub) -> None:
    with pytest.raises(ModelNotFoundError, match="no such model on the Hub"):
        fetch("a/typo")
    with pytest.raises(ModelNotFoundError, match="gated"):
        fetch("a/gated")
    with pytest.raises(NotExportedError, match="onnxpipe export a/weights -o DIR"):
        fetch("a/weights")
    with pytest.raises(ModelNotFoundError, match="neither ONNX graphs nor weights"):
        fetch("a/nothing")
    with pytest.raises(ModelNotFoundError, match=r"no config\.json"):
        fetch("a/nothing", need="config")
    with pytest.raises(PrecisionError, match="it has fp32, fp16"):
        fetch("a/external", dtype="q4")
    with pytest.raises(PrecisionError, match="no graph 'decoder_model'"):
        fetch("a/many", graphs=("decoder_model",))
    assert hub.downloaded() == set()


def test_names_that_look_like_paths_are_not_asked_of_the_hub(hub: Hub, tmp_path: Path) -> None:
    for name in ("./x", "../x", "~/x/y", "/no/such", "a\\b", "a/b/c", tmp_path / "none", "a/b\0", ""):
        with pytest.raises(ModelNotFoundError):
            fetch(name)
    (tmp_path / "file.onnx").write_bytes(b"x")
    with pytest.raises(ModelNotFoundError, match="is a file"):
        fetch(str(tmp_path / "file.onnx"))
    with pytest.raises(ModelNotFoundError, match="neither a folder here nor a Hub id"):
        fetch("a b/c?")
    assert hub.log == []


def test_no_connection(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fetch("a/many")
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert fetch("a/many") == folder
    with pytest.raises(ModelNotFoundError, match="did not answer"):
        fetch("a/external")


def test_the_environment_variables(hub: Hub, tmp_path: Path) -> None:
    """HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE work as everywhere, in a process of its own."""
    code = "from onnxpipe.bundle import fetch; print(fetch('a/many'))"
    env = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home")}
    env.pop("HF_HUB_CACHE", None)
    outputs = []
    for more in ({}, {"HF_HUB_OFFLINE": "1"}):
        done = subprocess.run([sys.executable, "-c", code], env={**env, **more}, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout.strip())
    assert outputs[0] == outputs[1] == str(tmp_path / "home/hub/models--a--many/snapshots" / COMMIT["main"])
