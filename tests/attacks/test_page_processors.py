"""A model's file may not pass arguments to tesseract that read or write files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from onnxpipe.errors import BundleError
from onnxpipe.processing.auto import AutoImageProcessor

pytest.importorskip("PIL.Image")


def load(folder: Path, **settings: Any) -> Any:
    config = {"image_processor_type": "LayoutLMv3ImageProcessor", **settings}
    (folder / "preprocessor_config.json").write_text(json.dumps(config), encoding="utf-8")
    return AutoImageProcessor.from_pretrained(str(folder))


@pytest.mark.parametrize(
    "settings",
    [
        {"tesseract_config": "-c debug_file=/elsewhere/owned"},
        {"tesseract_config": "--psm 6 -c tessedit_write_images=1"},
        {"tesseract_config": "--tessdata-dir /elsewhere"},
        {"tesseract_config": "--psm 6; touch /elsewhere/owned"},
        {"tesseract_config": "--user-words=/elsewhere/words"},
        {"tesseract_config": "/elsewhere/words"},
        {"tesseract_config": ["--psm", "6"]},
        {"ocr_lang": "../../elsewhere/owned"},
        {"ocr_lang": "/elsewhere/owned"},
        {"ocr_lang": "eng --psm 6"},
        {"ocr_lang": "-c"},
        {"ocr_lang": ""},
    ],
)
def test_arguments_in_a_file_are_refused(tmp_path: Path, settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(BundleError, match=f"preprocessor_config.json.*{name}"):
        load(tmp_path, **settings)


@pytest.mark.parametrize("config", ["", "--psm 6", " --oem 1 --psm=11 --dpi 300 ", None])
def test_numbers_are_taken(tmp_path: Path, config: str | None) -> None:
    processor = load(tmp_path, tesseract_config=config, ocr_lang="deu+chi_sim")
    assert (processor.tesseract_config or "") == (config or "") and processor.ocr_lang == "deu+chi_sim"
    own = AutoImageProcessor.from_pretrained(str(tmp_path), tesseract_config="-c preserve_interword_spaces=1")
    assert own.tesseract_config == "-c preserve_interword_spaces=1"
