"""`onnxpipe inspect`, `verify`, `doctor`, `export`, and what all commands share; on a bundle of one node."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from onnxpipe.cli import doctor, main
from onnxpipe.cli.cuda import one_node_model
from onnxpipe.errors import CertificateError, DeviceError
from unit.hub_server import REPOS, Hub

pytest.importorskip("onnxruntime")


def run(*args: Any, code: int = 0) -> Result:
    result = CliRunner().invoke(main, [str(arg) for arg in args])
    assert result.exit_code == code, result.output
    return result


def seal(folder: Path, graphs: dict | None = None) -> None:
    """Write bundle.json for the files that are there."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "bundle.json":
            content = path.read_bytes()
            files[path.relative_to(folder).as_posix()] = {
                "size": len(content),
                "sha256": hashlib.sha256(content).hexdigest(),
            }
    entry = {"path": "onnx/model.onnx", "inputs": ["x"], "outputs": ["y"]}
    manifest = {
        "format": 1,
        "onnxpipe": "0.1.0",
        "tasks": ["feature-extraction"],
        "source": {"model": "some/model", "revision": "abc"},
        "graphs": graphs or {"model": {"fp32": entry}},
        "files": files,
        "versions": {"torch": "2.13.0"},
        "onnxruntime": ">=1.22,<2",
    }
    (folder / "bundle.json").write_text(json.dumps(manifest))


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """y = x, certified."""
    folder = tmp_path / "bundle"
    (folder / "onnx").mkdir(parents=True)
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"]}')
    (folder / "onnx" / "model.onnx").write_bytes(one_node_model())
    x = np.array([0.5], np.float32)
    np.savez(folder / "golden.npz", **{"model/0/input/x": x, "model/0/output/y": x})
    proof = {"provider": "CPUExecutionProvider", "cases": 3, "rows": 5, "max_relative_difference": 1e-6,
             "cosine_min": 1.0, "decision_agreement": None, "batch_invariance": 0.0, "passed": True}  # fmt: skip
    certificate = {
        "format": 1,
        "created": "2026-01-01T00:00:00+00:00",
        "machine": "a machine",
        "reference": {"library": "transformers 5.23.0", "torch": "2.13.0", "attention": "eager"},
        "tokenizer": {"texts": 10, "mismatches": 0},
        "graphs": {"model": {"fp32": proof}},
        "generation": {"fp32": {"searches": {"greedy": {"rows": 8, "equal_rows": 7, "equal_tokens": 0.9}}}},
    }
    (folder / "certificate.json").write_text(json.dumps(certificate))
    seal(folder)
    return folder


def add_int8(bundle: Path) -> None:
    """Add the same graph as the bundle's int8."""
    (bundle / "onnx" / "model_int8.onnx").write_bytes((bundle / "onnx" / "model.onnx").read_bytes())
    seal(bundle, {"model": {
        name: {"path": f"onnx/model{suffix}.onnx", "inputs": ["x"], "outputs": ["y"]}
        for name, suffix in (("fp32", ""), ("int8", "_int8"))
    }})  # fmt: skip


def without_certificate(bundle: Path) -> Path:
    for name in ("bundle.json", "certificate.json", "golden.npz"):
        (bundle / name).unlink()
    return bundle


# -- inspect ---
def test_inspect(bundle: Path) -> None:
    shown = run("inspect", bundle).stdout
    for line in (
        "tasks         feature-extraction",
        "architecture  BertModel (bert)",
        "source        some/model at revision abc",
        "x -> y",
        "compared with transformers 5.23.0, torch 2.13.0, attention eager",
        "model fp32 on CPUExecutionProvider: passed, 3 cases of 5 rows, relative difference 1e-06",
        "generates fp32: greedy 7 of 8 outputs the same",
        "golden.npz",
    ):
        assert line in shown


def test_inspect_as_json(bundle: Path) -> None:
    document = json.loads(run("inspect", bundle, "--json").stdout)
    graph = document["graphs"]["model"]["fp32"]
    assert graph == {
        "path": "onnx/model.onnx", "size": len(one_node_model()), "inputs": ["x"], "outputs": ["y"]
    }  # fmt: skip
    assert document["certificate"]["tokenizer"]["texts"] == 10


def test_inspect_a_folder_of_others(bundle: Path) -> None:
    shown = run("inspect", without_certificate(bundle)).stdout
    assert "none: not verified" in shown
    assert "x -> y" in shown  # read from the graph
    (bundle / "onnx" / "model.onnx").unlink()
    assert "none: and it has no weights" in run("inspect", bundle).stdout
    (bundle / "adapter_config.json").write_text("{}")
    assert "none: it is an adapter of PEFT" in run("inspect", bundle).stdout
    (bundle / "model.safetensors").write_bytes(b"x")
    assert "none: onnxpipe export" in run("inspect", bundle).stdout


HUB = {"config.json": b'{"model_type": "bert", "architectures": ["BertModel"]}'}
EIGHT_BITS = ("qint8_arm64", "qint8_avx512_vnni", "quint8_avx2")


@pytest.fixture
def repositories(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> Hub:
    graphs = {f"onnx/model{end}.onnx": one_node_model() for end in ("", *(f"_{name}" for name in EIGHT_BITS))}
    places = ("cpu_and_mobile/a", "cuda/b")
    genai = {f"{place}/genai_config.json": b'{"model": {"type": "phi3", "decoder": {}}}' for place in places}
    seq2seq = ("encoder_model.onnx", "decoder_model_merged.onnx", "encoder_model_fp16.onnx")
    monkeypatch.setitem(REPOS, "a/sentences", HUB | graphs | {"onnx/model.onnx_data": b"x" * 5000})
    monkeypatch.setitem(REPOS, "a/pair", HUB | {name: one_node_model() for name in seq2seq})
    monkeypatch.setitem(REPOS, "a/genai", genai | {f"{place}/x.onnx": one_node_model() for place in places})
    monkeypatch.setitem(REPOS, "a/weights", HUB | {"model.safetensors": b"x"})
    monkeypatch.setitem(REPOS, "Xenova/weights", HUB | graphs)
    monkeypatch.setattr("onnxpipe.bundle.precision.kernels", lambda: frozenset({"AVX2"}))
    return hub


def test_inspect_says_what_each_dtype_takes_and_downloads_no_graph(repositories: Hub) -> None:
    shown = run("inspect", "a/sentences").stdout
    assert "tasks         feature-extraction" in shown
    assert f"{(len(one_node_model()) + 5000) / 1e3:.1f} kB  onnx/model.onnx\n" in shown
    for line in (
        "auto                fp32 (the fullest there is)",
        "int8                quint8_avx2 (made for AVX2, which this processor has)",
        "qint8_arm64         qint8_arm64\n",
        "uint8               quint8_avx2",
    ):
        assert f"  {line}" in shown
    assert "  fp16 " not in shown
    loads = json.loads(run("inspect", "a/pair", "--json").stdout)["loads"]
    assert loads["auto"]["decoder_model_merged"]["precision"] == "fp32"
    assert "fp16" not in loads  # not for every graph
    genai = run("inspect", "a/genai").stdout
    assert "cpu_and_mobile/a: model" in genai
    assert "pass subfolder=" in genai
    weights = run("inspect", "a/weights").stdout
    assert "none: onnxpipe export a/weights -o FOLDER writes one\n  ready-made: Xenova/weights" in weights
    sent = repositories.downloaded()
    assert not [name for name in sent if name.endswith((".onnx", "_data", ".safetensors"))]
    assert "no such model" in run("inspect", "a/typo", code=1).stderr


def test_names_in_a_folder_do_not_steer_the_terminal(bundle: Path) -> None:
    (bundle / "a\x1b[2Jb").write_text("")
    assert "\x1b" not in run("inspect", bundle).stdout


# -- verify ---
def test_verify(bundle: Path) -> None:
    result = run("verify", bundle)
    assert "files: ok, 4 as in bundle.json" in result.stdout
    assert "model fp32: ok, 1 cases on CPUExecutionProvider, relative difference 0.00e+00" in result.stdout
    assert result.stdout.endswith("ok\n")
    document = json.loads(run("verify", bundle, "--json", "--dtype", "fp32", "--device", "cpu").stdout)
    assert document["ok"] is True
    assert document["graphs"][0]["tolerance"] == {"max_relative": 1e-4}


def test_verify_finds_a_wrong_answer(bundle: Path) -> None:
    x = np.array([0.5], np.float32)
    np.savez(bundle / "golden.npz", **{"model/0/input/x": x, "model/0/output/y": x + 1})
    seal(bundle)
    result = run("verify", bundle, code=1)
    assert "model fp32: FAILED" in result.stdout
    assert "relative difference" in result.stdout
    assert result.stdout.endswith("FAILED\n")
    assert json.loads(run("verify", bundle, "--json", code=1).stdout)["ok"] is False


def test_verify_finds_other_files(bundle: Path) -> None:
    graph = bundle / "onnx" / "model.onnx"
    graph.write_bytes(one_node_model().replace(b"one", b"eno"))
    (bundle / "more.txt").write_text("")
    result = run("verify", bundle, code=1)
    assert "files: 1 FAILED, 3 as in bundle.json" in result.stdout
    assert "not in bundle.json: more.txt" in result.stdout
    (bundle / "config.json").write_text("{}")
    assert "config.json" in run("verify", bundle, code=1).stderr


def test_verify_a_graph_that_does_not_load(bundle: Path) -> None:
    (bundle / "onnx" / "model.onnx").write_bytes(one_node_model().replace(b"Identity", b"Identitx"))
    seal(bundle)
    assert "model fp32: FAILED" in run("verify", bundle, code=1).stdout


def test_verify_without_proof(bundle: Path) -> None:
    assert "not verified: no golden.npz" in run("verify", without_certificate(bundle), code=1).stdout
    assert json.loads(run("verify", bundle, "--json", code=1).stdout)["verified"] is False


def test_verify_another_precision(bundle: Path) -> None:
    assert "it has fp32" in run("verify", bundle, "--dtype", "int8", code=1).stderr


# -- doctor ---
def test_doctor() -> None:
    document = json.loads(run("doctor", "--json").stdout)
    topics = {finding["topic"]: finding for finding in document["findings"]}
    assert document["ok"] is True
    assert topics["telemetry"]["value"] == "off"
    assert "CPUExecutionProvider" in topics["providers"]["value"]
    assert topics["threads"]["value"].split()[0].isdigit()
    assert "hub cache" in run("doctor").stdout


def test_doctor_warns_of_two_wheels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda name: "1.25.0")
    monkeypatch.setattr(doctor, "_RUNTIMES", ("onnxruntime", "onnxruntime-gpu"))
    findings = {finding.topic: finding for finding in doctor.examine()}
    assert findings["distributions"].level == "warning"
    assert findings["distributions"].fix == (
        "pip uninstall -y onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu"
    )
    assert "overwritten" in findings["cuda"].value


def test_doctor_without_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ImportError("no onnxruntime")

    monkeypatch.setattr("onnxpipe.engine.runtime.import_onnxruntime", missing)
    shown = run("doctor", code=1).stdout
    assert "broken: ImportError: no onnxruntime" in shown
    assert 'fix: pip install "onnxpipe[cpu]"' in shown


# -- export ---
class Exporter:
    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.call: dict[str, Any] = {}

    def export(self, model: str, output: str, *, progress: Any, **options: Any) -> str:
        self.call = {"model": model, "output": output, **options}
        progress("loading")
        if self.error is not None:
            raise self.error
        return "done: 2 files"


def test_export(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter()
    monkeypatch.setattr("onnxpipe.bundle.load_exporter", lambda: exporter)
    result = run("export", "some/model", "-o", "out", "--precision", "fp32, int8", "--revision", "abc", "--offline",
                 "--attention", "standard")  # fmt: skip
    assert result.stdout == "done: 2 files\n"
    assert result.stderr.endswith(" s  loading\n")
    assert exporter.call == {
        "model": "some/model", "output": "out", "task": None, "precision": ("fp32", "int8"),
        "attention": "standard", "calibration": None, "revision": "abc", "token": None, "cache_dir": None,
        "local_files_only": True,
    }  # fmt: skip


def test_export_without_proof_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    exporter = Exporter(CertificateError("it does not answer\n  as the original does"))
    monkeypatch.setattr("onnxpipe.bundle.load_exporter", lambda: exporter)
    result = run("export", "some/model", "-o", "out", code=1)
    assert result.stderr.splitlines()[-1] == "error: it does not answer as the original does"
    assert result.stdout == ""


# -- what all share ---
def test_version() -> None:
    from onnxpipe import __version__

    assert run("--version").stdout == f"onnxpipe, version {__version__}\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (DeviceError("no GPU"), "error: no GPU"),
        (KeyError("no 'x' here"), "error: no 'x' here"),
        (FileNotFoundError(2, "No such file or directory", "a.csv"), "error: a.csv: No such file or directory"),
        (ZeroDivisionError("by zero"), "error: ZeroDivisionError: by zero"),
        (ValueError(), "error: ValueError"),
    ],
)
def test_errors_in_one_line(monkeypatch: pytest.MonkeyPatch, error: Exception, line: str) -> None:
    monkeypatch.setattr("onnxpipe.bundle.load_exporter", lambda: Exporter(error))
    assert run("export", "m", "-o", "out", code=1).stderr.splitlines()[-1] == line
    result = CliRunner().invoke(main, ["--traceback", "export", "m", "-o", "out"])
    assert result.exception is error


def test_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("onnxpipe.bundle.load_exporter", interrupt)
    assert run("export", "m", "-o", "out", code=130).stderr == ""


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
def test_sigterm(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("onnxpipe.bundle.load_exporter", lambda: os.kill(os.getpid(), signal.SIGTERM))
    run("export", "m", "-o", "out", code=143)
    assert signal.getsignal(signal.SIGTERM) is before


def test_warnings_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def export(*_: Any, **__: Any) -> str:
        warnings.warn("mind\nthis", UserWarning, stacklevel=1)
        logging.getLogger("onnxpipe").warning("and %s", "that")
        return "done"

    monkeypatch.setattr("onnxpipe.bundle.load_exporter", lambda: SimpleNamespace(export=export))
    assert run("export", "m", "-o", "out").stderr == "warning: mind this\nwarning: and that\n"


@pytest.mark.skipif(os.name == "nt", reason="pipes of POSIX")
def test_a_closed_pipe_is_quiet(bundle: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "onnxpipe", "inspect", str(bundle)], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert child.stderr.read() == b""
    assert child.wait() == 141
    child.stderr.close()
