"""The JavaScript of docs/elsewhere.md runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from documentation.blocks import ROOT, blocks
from zoo.audio import recordings

MODELS = {
    "minilm": "all-MiniLM-L6-v2",
    "sst2": "minilm-sst2",
    "conll": "minilm-conll",
    "opus": "opus-mt-en-fr",
    "whisper": "whisper-tiny.en",
    "resnet": "resnet-50",
}


@pytest.mark.xdist_group("real-speech")
def test_every_block_runs(
    real_model: Callable[[str], Path],
    real_bundle: Callable[[str], Path],
    node: Callable[..., str],
    script: Path,
    tmp_path: Path,
) -> None:
    from zoo.cache import cached_export

    data = Path(os.environ.get("ONNXPIPE_TEST_DATA") or pytest.skip("no data: set ONNXPIPE_TEST_DATA"))
    (tmp_path / "bundles").mkdir()
    folders = {name: real_bundle(model) for name, model in MODELS.items()}
    folders["stories"] = cached_export(real_model("stories15M"), ("fp32", "int8", "q4"))
    for name, folder in folders.items():
        (tmp_path / "bundles" / name).symlink_to(folder.resolve())
    shutil.copyfile(next((data / "imagenet").glob("*flamingo.JPEG")), tmp_path / "photograph.jpg")
    speech = recordings.decoded((data / "speech/jfk.flac").read_bytes(), 16_000)
    (tmp_path / "speech.f32").write_bytes(np.asarray(speech, np.float32).tobytes())
    page = blocks(ROOT / "docs" / "elsewhere.md")
    code = "".join(block.code for block in page if block.language == "javascript")
    script.write_text(code, "utf-8")
    printed = node(script, folder=tmp_path)
    for expected in (
        "[ 2, 384 ]",
        "POSITIVE",
        "B-PER",
        "Once upon a time, ",
        "Le temps est beau",
        "my fellow",
        "flamingo",
    ):
        assert expected in printed
