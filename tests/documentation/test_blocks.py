"""Every code block of README.md and docs/ is run, is a file that is run, or says why it is not."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from documentation.blocks import ROOT, Block, blocks, pages
from documentation.hub import PRETRAINED, TINY, fill, model_package

pytestmark = pytest.mark.xdist_group("real")

_RUN = ("python", "bash")
_HUB_ID = re.compile(r"(?<![\w./:@-])[A-Za-z][\w.-]*/[A-Za-z0-9][\w.-]*(?![\w/-]|\.\w)")
_DRIVER = Path(__file__).with_name("driver.py")
_FILES = {"examples", "tests", "docs", "perf", "masks", "photos", "build"}
"""Folders that commands name, which are no Hub ids."""


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def _shown(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language in _RUN]


def _hub_ids(code: str) -> set[str]:
    return {name for name in _HUB_ID.findall(code) if name.split("/")[0] not in _FILES}


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_blocks_of_files_hold_the_files_text(page: Path) -> None:
    for block in blocks(page):
        if block.file is not None:
            assert block.code == (ROOT / block.file).read_text(encoding="utf-8"), f"{page.name}:{block.line}"


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_models_that_are_named_exist(page: Path) -> None:
    """Also those of blocks that are not run; `tests/documentation/hub.py` says what stands for each."""
    for block in _shown(page):
        unknown = _hub_ids(block.code) - PRETRAINED.keys() - TINY.keys()
        assert not unknown or block.not_run, f"{page.name}:{block.line} names {unknown}"


@pytest.mark.parametrize("page", pages(), ids=_name)
def test_python_compiles(page: Path) -> None:
    for block in blocks(page):
        if block.language == "python":
            compile(block.code, f"{page.name}:{block.line}", "exec")


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """`workplace()`: a new folder with the files that the pages name."""
    soundfile, pillow = pytest.importorskip("soundfile"), pytest.importorskip("PIL.Image")
    from zoo.audio import recordings
    from zoo.documents import receipt
    from zoo.vision import images

    def make() -> Path:
        folder = tmp_path_factory.mktemp("page")
        (folder / "lines.txt").write_text("What a wonderful film.\nIt was dull.\n", encoding="utf-8")
        (folder / "reviews.csv").write_text("id,text\n1,What a wonderful film.\n2,It was dull.\n", encoding="utf-8")
        (folder / "reviews.csv.gz").write_bytes(gzip.compress((folder / "reviews.csv").read_bytes(), mtime=0))
        question = {"q": "Where does the train go?", "c": "The train goes to Lyon at nine."}
        (folder / "questions.jsonl").write_text(json.dumps(question) + "\n", encoding="utf-8")
        (folder / "sales.csv").write_text(
            'Month,Units,Revenue\nApril,31,"3,100"\nMay,12,"1,150"\nJune,4,395\n', encoding="utf-8"
        )
        (folder / "book.csv").write_text("text\nThe train is late.\nGood morning.\n", encoding="utf-8")
        for name in ("photo.jpg", "street.jpg", "house.png"):
            pillow.fromarray(images.scene(320, 240, seed=name)).save(folder / name)
        pillow.linear_gradient("L").save(folder / "door.png")
        receipt().image.save(folder / "receipt.png")
        images.clip("video", folder, count=32).rename(folder / "video.mp4")
        soundfile.write(folder / "talk.flac", recordings.speech(4, 16_000, seed="talk"), 16_000)
        return folder

    return make


@pytest.mark.parametrize("page", [page for page in pages() if any(not b.not_run for b in _shown(page))], ids=_name)
def test_blocks_run(
    page: Path,
    workplace: Callable[[], Path],
    tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:
    """The page's blocks in their order, Python in one process, with the Hub's cache and no network."""
    runnable = [block for block in _shown(page) if not block.not_run]
    ids = set().union(*(_hub_ids(block.code) for block in runnable))
    real_model, real_bundle = request.getfixturevalue("real_model"), request.getfixturevalue("real_bundle")
    folder, cache = workplace(), tmp_path / "hub"
    fill(
        cache,
        ids,
        lambda name, exported: (real_bundle if exported else real_model)(name),
        request.getfixturevalue("bundles"),
    )
    steps = [{"language": b.language, "code": b.code, "name": f"{page.name}:{b.line}"} for b in runnable]
    (tmp_path / "steps.json").write_text(json.dumps(steps), encoding="utf-8")
    packages = model_package(tmp_path / "packages", real_model)
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(packages), os.environ.get("PYTHONPATH", "")]),
        "HF_HUB_CACHE": str(cache), "HF_HUB_OFFLINE": "1", "ONNXPIPE_CACHE": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, str(_DRIVER), str(tmp_path / "steps.json")],
        cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8",
    )  # fmt: skip
    assert done.returncode == 0, textwrap.indent(done.stdout[-3000:] + done.stderr[-5000:], "  ")
