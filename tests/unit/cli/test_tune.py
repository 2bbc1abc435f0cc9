"""`onnxpipe tune`: what is chosen, what is stored, and what dtype="auto" makes of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from tests.unit.cli.test_bench import FakeWorker
from tests.unit.cli.test_folders import add_int8, bundle, seal  # noqa: F401 - a fixture

from onnxpipe.bundle import open_bundle
from onnxpipe.cli import main
from onnxpipe.cli.bench import run
from onnxpipe.cli.tune import Candidate, choose
from onnxpipe.errors import DeviceError
from onnxpipe.models import tuning
from onnxpipe.models.auto import AutoModel

pytest.importorskip("onnxruntime")


@pytest.fixture
def folder(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:  # noqa: F811
    """A bundle in fp32 and int8, half of whose decisions int8 changes; timed by stand-ins."""
    certificate = json.loads((bundle / "certificate.json").read_text())
    entry = certificate["graphs"]["model"]["fp32"]
    certificate["graphs"]["model"] = {
        "fp32": {**entry, "decision_agreement": 1.0}, "int8": {**entry, "decision_agreement": 0.5}
    }  # fmt: skip
    (bundle / "certificate.json").write_text(json.dumps(certificate))
    add_int8(bundle)
    monkeypatch.setenv("ONNXPIPE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(run, "Worker", FakeWorker)
    return bundle


def tune(*arguments: Any, code: int = 0) -> Any:
    result = CliRunner().invoke(main, ["tune", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_auto_obeys_the_choice_until_it_is_forgotten(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert AutoModel.from_pretrained(folder).dtype == "float32"
    done = tune(folder, "--max-drop", "60%", "--threads", "1,2")
    assert "int8, 1 thread" in done.stdout and "50.00%" in done.stdout
    assert AutoModel.from_pretrained(folder).dtype == "int8"
    assert AutoModel.from_pretrained(folder, dtype="fp32").dtype == "float32"
    assert not caplog.records
    tune(folder, "--forget")
    assert AutoModel.from_pretrained(folder).dtype == "float32"


def test_a_limit_that_the_fastest_does_not_keep(folder: Path) -> None:
    assert "dtype=auto takes fp32" in tune(folder).stdout
    assert "no setting keeps a drop of at most 1.00% and 95 calls of 100 within 3 ms" in (
        tune(folder, "--p95", "3ms", code=1).stderr
    )
    assert "takes int8" in tune(folder, "--p95", "3", "--max-drop", 0.5).stdout


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda values: {**values, "machine": {**values["machine"], "onnxruntime": "0.1"}}, "another machine"),
        (lambda values: {"dtype": "int8"}, "is damaged"),
    ],
)
def test_choices_that_do_not_hold(
    change: Callable[[Mapping[str, Any]], Mapping[str, Any]], why: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tune(folder, "--max-drop", 1)
    place = tuning.place_of(open_bundle(folder))
    assert place is not None
    place.write_text(json.dumps(change(json.loads(place.read_text()))))
    assert AutoModel.from_pretrained(folder).dtype == "float32"
    assert why in caplog.text


def test_another_content_has_no_choice(folder: Path) -> None:
    tune(folder, "--max-drop", 1)
    (folder / "config.json").write_text('{"model_type": "bert", "architectures": ["BertModel"], "more": 1}')
    seal(folder, json.loads((folder / "bundle.json").read_text())["graphs"])
    assert AutoModel.from_pretrained(folder).dtype == "float32"


def test_a_device_whose_answers_hold_takes_part(folder: Path, contoso: None) -> None:
    done = tune(folder, "--device", "cpu,contoso", "--threads", 1, "--max-drop", 1)
    assert "int8, 1 thread, contoso:0" in done.stdout and "fp32, 1 thread, cpu" in done.stdout
    assert AutoModel.from_pretrained(folder).dtype == "int8"
    place = tuning.place_of(open_bundle(folder))
    assert place is not None
    place.write_text(json.dumps({**json.loads(place.read_text()), "device": "contoso:0"}))
    assert str(AutoModel.from_pretrained(folder).device) == "contoso:0"
    untuned = AutoModel.from_pretrained(folder, device="cpu")
    assert (str(untuned.device), untuned.dtype) == ("cpu", "float32")


def test_a_device_that_fails_is_left_out(folder: Path, contoso: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Fails(FakeWorker):
        def __init__(self, setting: Mapping[str, Any]) -> None:
            super().__init__(setting)
            if setting["device"] == "contoso:0" and setting["dtype"] == "int8":
                raise DeviceError("no kernel for it")

    monkeypatch.setattr(run, "Worker", Fails)
    (folder / "golden.npz").unlink()  # and so nothing tells whether its answers hold
    done = tune(folder, "--device", "cpu,contoso", "--threads", 1, "--max-drop", 1)
    assert "left out: no kernel for it" in done.stderr and "int8, 1 thread, contoso" not in done.stdout
    assert "unknown" in next(line for line in done.stdout.splitlines() if "fp32, 1 thread, contoso" in line)
    assert "dtype=auto takes int8, 1 thread, cpu" in done.stdout


def test_wrong_calls(folder: Path) -> None:
    assert "such as 20ms" in tune(folder, "--p95", "soon", code=2).stderr
    assert "above 0, such as 20ms" in tune(folder, "--p95", "0", code=2).stderr
    for share in ("-1%", "101%", "nan"):
        assert "such as 20%" in tune(folder, "--max-drop", share, code=2).stderr
    (folder / "bundle.json").unlink()
    assert "only what onnxpipe exported can be tuned" in tune(folder, code=2).stderr


def test_of_equally_fast_settings_the_one_with_less_memory_is_chosen() -> None:
    def candidate(name: str, median: float, memory: float, drop: float | None = 0.0) -> Candidate:
        return Candidate(name, "cpu", "int8", 1, median, median, memory, drop)

    found = [candidate("a", 10, 300), candidate("b", 10.2, 100), candidate("c", 11, 50), candidate("d", 1, 1, None)]
    best = choose(found, 0.01, None)
    assert best is not None and best.name == "b"
    assert found[2].dominates(candidate("e", 12, 50)) and not found[0].dominates(found[1])
