"""`onnxpipe package`: what it writes has all that it starts, and Triton's model answers as the pipeline does."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from onnxpipe import pipeline
from onnxpipe.cli import main
from onnxpipe.cli.package.contents import requirements
from onnxpipe.tasks.registry import task_spec
from unit.tasks.test_embedding import folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = folder(tmp_path_factory.mktemp("package") / "tea", "sentence_embedding")
    np.savez(root / "golden.npz", **{"model/0/input/input_ids": np.ones((2, 7), np.int64)})
    (root / "notes.txt").write_text("not a part of the model", encoding="utf-8")
    return root


def package(*words: object) -> str:
    done = CliRunner().invoke(main, ["package", *map(str, words)])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def repository(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("triton") / "repository"
    shown = package(f"{bundle}:embedding", "--for", "triton", "-o", target)
    assert f"{target}:/models" in shown and "/models/tea/1/requirements.txt" in shown
    return target


def test_docker(bundle: Path, tmp_path: Path) -> None:
    target = tmp_path / "image"
    assert f"cd {target}\n" in package(f"cups={bundle}:embedding", "--for", "docker", "-o", target, "--dtype", "fp32")
    dockerfile = (target / "Dockerfile").read_text(encoding="utf-8")
    copied = re.findall(r"^COPY (?!--from)(\S+) ", dockerfile, re.MULTILINE)
    assert copied == ["requirements.txt", "onnxpipe", "model"] and all((target / name).exists() for name in copied)
    assert {path.name for path in (target / "model").rglob("*")} == {
        "config.json", "golden.npz", "model.onnx", "tokenizer.json", "tokenizer_config.json"
    }  # fmt: skip
    command = json.loads(dockerfile.split("ENTRYPOINT ")[1])
    assert command[3:] == ["serve", "cups=/srv/model:embedding", "--host", "0.0.0.0", "--dtype", "fp32"]
    assert "USER 10001" in dockerfile and "HEALTHCHECK" in dockerfile and "STOPSIGNAL SIGTERM" in dockerfile
    compose = (target / "compose.yaml").read_text(encoding="utf-8")
    assert "read_only: true" in compose and "ONNXPIPE_API_KEY:?" in compose and "volumes" not in compose
    # the package that was copied is one that runs, once it is compiled where the image does
    (words,) = re.findall(r"^RUN \S+/python (-m compileall .*) \S+/site-packages/onnxpipe$", dockerfile, re.MULTILINE)
    subprocess.run([sys.executable, *words.split(), target / "onnxpipe"], check=True)
    assert (target / "onnxpipe/__pycache__").is_dir()
    shown = subprocess.run(
        [sys.executable, "-m", "onnxpipe", "--version"], cwd=target, env={"PYTHONPATH": "."}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert "onnxpipe" in shown.stdout


def test_a_model_that_is_mounted(bundle: Path, tmp_path: Path) -> None:
    package(f"{bundle}:embedding", "--for", "docker", "-o", tmp_path / "image", "--mount")
    assert not (tmp_path / "image" / "model").exists()
    assert "COPY model" not in (tmp_path / "image" / "Dockerfile").read_text(encoding="utf-8")
    assert f"MODEL:-{bundle}}}:/srv/model:ro" in (tmp_path / "image" / "compose.yaml").read_text(encoding="utf-8")


def test_what_tasks_need() -> None:
    def names(task: str, *more: str) -> set[str]:
        return {re.split("[<>=]", line)[0] for line in requirements(task_spec(task), *more)}

    text = names("text-classification")
    assert {"numpy", "tokenizers", "onnxruntime"} <= text and not {
        "torch",
        "transformers",
        "pillow",
        "soundfile",
    } & text
    assert {"starlette", "uvicorn"} <= names("text-classification", "serve")
    assert "pillow" in names("image-classification") and "av" in names("video-classification")
    assert "soundfile" in names("automatic-speech-recognition") and "pytest" not in names("any-to-any", "serve")


def test_a_repository_of_triton(repository: Path, bundle: Path) -> None:
    assert sorted(path.name for path in repository.iterdir()) == ["tea", "tea-graph"]
    assert (repository / "tea-graph/1/model.onnx").read_bytes() == next(bundle.rglob("model.onnx")).read_bytes()
    assert (repository / "tea/1/bundle/tokenizer.json").is_file()
    graph = (repository / "tea-graph/config.pbtxt").read_text(encoding="utf-8")
    for part in ('platform: "onnxruntime_onnx"', 'default_model_filename: "model.onnx"', "max_batch_size: 32",
                 'name: "input_ids"\n  data_type: TYPE_INT64\n  dims: [-1]', "dims: [7]\n", "zero_data: true",
                 'name: "sentence_embedding"\n  data_type: TYPE_FP32\n  dims: [2]', "dynamic_batching {"):  # fmt: skip
        assert part in graph
    task = (repository / "tea/config.pbtxt").read_text(encoding="utf-8")
    for part in (
        'backend: "python"',
        'name: "text"\n  data_type: TYPE_STRING\n  dims: [1]',
        'string_value: "embedding"',
    ):
        assert part in task


def test_triton_itself_would_take_the_configs(repository: Path) -> None:
    """By the protocol buffers of Triton's own client."""
    client = pytest.importorskip("tritonclient")
    protobuf = pytest.importorskip("google.protobuf")
    text_format = __import__("google.protobuf.text_format", fromlist=["text_format"])
    sys.path.insert(0, str(Path(client.__file__).parent / "grpc"))
    try:
        import model_config_pb2
    except Exception as error:  # made for another version of protobuf
        pytest.skip(f"protobuf {protobuf.__version__} does not read them: {error}")
    finally:
        sys.path.pop(0)
    for path in sorted(repository.glob("*/config.pbtxt")):
        config = text_format.Parse(path.read_text(encoding="utf-8"), model_config_pb2.ModelConfig())
        assert config.name == path.parent.name and config.max_batch_size == 32


class FakeTensor:
    def __init__(self, name: str, data: Any) -> None:
        self.name, self.data = name, data

    def as_numpy(self) -> Any:
        return self.data


class FakeRequest:
    def __init__(self, texts: list[Any], parameters: str = "") -> None:
        self.tensors = {"text": FakeTensor("text", np.array([[text] for text in texts], object))}
        self._parameters = parameters

    def parameters(self) -> str:
        return self._parameters

    def request_id(self) -> str:
        return "r1"


@pytest.fixture
def loaded(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The class of the repository's model.py, initialized as Triton does."""
    triton = ModuleType("triton_python_backend_utils")
    triton.Tensor, triton.TritonError = FakeTensor, str  # type: ignore[attr-defined]
    triton.get_input_tensor_by_name = lambda request, name: request.tensors.get(name)  # type: ignore[attr-defined]
    triton.InferenceResponse = lambda tensors, error=None: SimpleNamespace(tensors=tensors, error=error)  # type: ignore
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", triton)
    scope: dict[str, Any] = {}
    exec((repository / "tea/1/model.py").read_text(encoding="utf-8"), scope)
    model = scope["TritonPythonModel"]()
    config = (repository / "tea/config.pbtxt").read_text(encoding="utf-8")
    found = re.findall(r'key: "(\w+)"\n  value {\n    string_value: "(\w+)"', config)
    parameters = {key: {"string_value": value} for key, value in found}
    assert set(parameters) == {"task", "dtype"}
    model.initialize({
        "model_config": json.dumps({"parameters": parameters}), "model_repository": str(repository / "tea"),
        "model_version": "1", "model_instance_kind": "CPU", "model_instance_device_id": "0", "model_name": "tea",
    })  # fmt: skip
    yield model
    model.finalize()


def answers(response: Any) -> list[Any]:
    (tensor,) = response.tensors
    assert tensor.name == "answer" and tensor.data.shape[1:] == (1,) and response.error is None
    return [json.loads(each) for each in tensor.data[:, 0]]


def test_tritons_model_answers_as_the_pipeline(loaded: Any, bundle: Path, repository: Path) -> None:
    own = pipeline("embedding", str(bundle), device="cpu")
    plain, again, cut, bad, unknown, raw = loaded.execute([
        FakeRequest([b"tea cup", b"tea"]), FakeRequest([b"cup"]), FakeRequest([b"tea"], '{"truncate_dim": 1}'),
        FakeRequest([b"tea", b"bad"]), FakeRequest([b"tea"], '{"truncate_dims": 1}'), FakeRequest([b"\xff"]),
    ])  # fmt: skip
    assert answers(plain) == [vector.tolist() for vector in own(["tea cup", "tea"])]
    assert answers(again) == [own("cup").tolist()]
    assert answers(cut) == [own("tea", truncate_dim=1).tolist()]
    assert bad.tensors == [] and "NaN" in bad.error
    assert "did you mean 'truncate_dim'" in unknown.error and "UTF-8" in raw.error
    assert str(repository) not in bad.error


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--for", "triton", "--mount"], "--mount is for"), (["--for", "docker", "-o", "."], "not an empty folder"),
        (["--for", "docker", "--name", "a b"], "cannot be the name"), (["--for", "docker", "--dtype", "int8"], "int8"),
    ],
)  # fmt: skip
def test_refused(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = CliRunner().invoke(main, ["package", f"{bundle}:embedding", *words])
    assert done.exit_code and message in done.stderr and sorted(tmp_path.iterdir()) == [tmp_path / "file"]
