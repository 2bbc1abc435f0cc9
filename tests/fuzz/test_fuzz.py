"""Mutated files from outside come back as answers or as errors of ours, within bounds of work and memory."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest

if sys.platform != "linux":
    pytest.skip("the limits of work and memory are Linux's", allow_module_level=True)
for package in ("onnx", "PIL", "soundfile", "soxr", "av", "llguidance"):
    pytest.importorskip(package)

from fuzz import run, targets  # noqa: E402
from fuzz.run import CORPUS, Outcome, is_open, try_files, try_numbers  # noqa: E402
from fuzz.target import Target  # noqa: E402
from onnxpipe.errors import BundleError  # noqa: E402

SEED = 1


def _new(outcome: Outcome) -> list[str]:
    found = [each for each in outcome.findings if not is_open(each)]
    return [f"{each.target}: {each.place}\n{each.name}: {each.what}\n{each.details}" for each in found]


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_every_seed_is_accepted(name: str, tmp_path: Path) -> None:
    target = targets.TARGETS[name]
    for number, seed in enumerate(target.seeds()):
        folder = tmp_path / str(number)
        folder.mkdir()
        target.run(seed, folder)


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_mutated_inputs(name: str) -> None:
    target = targets.TARGETS[name]
    outcome = try_numbers(target, SEED, 0, target.count)
    assert not _new(outcome), "\n\n".join(_new(outcome))
    assert outcome.tried == target.count
    assert outcome.accepted
    assert outcome.refused


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_what_was_once_found(name: str) -> None:
    files = sorted((CORPUS / name).glob("*")) if (CORPUS / name).is_dir() else []
    outcome = try_files(targets.TARGETS[name], files)
    assert not _new(outcome), "\n\n".join(_new(outcome))
    assert outcome.tried == len(files)


def test_the_corpus_belongs_to_targets() -> None:
    assert {folder.name for folder in CORPUS.iterdir() if folder.is_dir()} <= targets.TARGETS.keys()


@pytest.mark.parametrize("name", sorted(targets.TARGETS))
def test_thousands_of_inputs_can_be_made(name: str) -> None:
    target = targets.TARGETS[name]
    seeds = target.seeds()
    assert len({target.input(7, number, seeds) for number in range(3000)}) > 1000


def test_inputs_follow_from_their_number() -> None:
    target = targets.TARGETS["tables"]
    inputs = [target.input(SEED, number, target.seeds()) for number in range(20)]
    assert inputs == [target.input(SEED, number, target.seeds()) for number in range(20)]
    assert len(set(inputs)) > 15


# -- the fuzzer itself: a target that breaks each rule, tried by a worker as all others are -------------------------
_BAD = b"accept refuse key-error exit abort work memory"


def _word(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return random.choice(_BAD.split())


def _misbehave(data: bytes, folder: Path) -> None:
    match data.decode():
        case "refuse":
            raise BundleError("no")
        case "key-error":
            raise KeyError("name")
        case "exit":
            sys.exit(3)
        case "abort":
            os.abort()
        case "work":
            while True:
                pass
        case "memory":
            bytearray(1 << 32)


MISBEHAVING = Target("misbehaving", lambda: [b"accept"], _word, _misbehave, (BundleError,), cpu_seconds=1)


def test_every_way_to_misbehave_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPIPE_FUZZ_TARGET", "fuzz.test_fuzz:MISBEHAVING")
    files = []
    for word in _BAD.split():
        files.append(tmp_path / word.decode())
        files[-1].write_bytes(word)
    outcome = try_files(MISBEHAVING, files)
    found = {Path(each.name).name: each for each in outcome.findings}
    assert sorted(found) == ["abort", "exit", "key-error", "memory", "work"]
    assert (outcome.accepted, outcome.refused) == (1, 1)
    assert "KeyError" in found["key-error"].what
    assert "SystemExit" in found["exit"].what
    assert "MemoryError" in found["memory"].what
    assert "ended: exit -6" in found["abort"].what
    assert "ended: exit -27" in found["work"].what  # SIGPROF
    assert "_misbehave" in found["work"].details
    assert found["work"].data == b"work"


def test_inputs_by_number_go_on_after_a_death(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONNXPIPE_FUZZ_TARGET", "fuzz.test_fuzz:MISBEHAVING")
    outcome = try_numbers(MISBEHAVING, SEED, 0, 12)
    words = [MISBEHAVING.input(SEED, number, [b"accept"]) for number in range(12)]
    assert outcome.tried == 12
    assert [(int(each.name), each.data) for each in outcome.findings] == [
        (number, word) for number, word in enumerate(words) if word not in (b"accept", b"refuse")
    ]


def test_findings_are_saved_by_their_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "CORPUS", tmp_path)
    finding = run.Finding("tables", "7", b"a,b\n", "KeyError('a')", "KeyError in x", "")
    assert run.save(finding) == run.save(finding)
    assert [path.read_bytes() for path in (tmp_path / "tables").iterdir()] == [b"a,b\n"]
