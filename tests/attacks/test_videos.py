"""Settings of video processors that would fill the memory or never end are refused."""

from __future__ import annotations

import json
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from onnxpipe.errors import ImageError, OnnxPipeError
from onnxpipe.processing.auto import AutoVideoProcessor

HUGE = 10**12
#: Bytes that a refusal may take.
_LIMIT = 200 * 2**20


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("Qwen2VLVideoProcessor", {"temporal_patch_size": HUGE}),
        ("Qwen2VLVideoProcessor", {"size": {"shortest_edge": 2**60, "longest_edge": 2**61}}),
        ("Qwen2VLVideoProcessor", {"patch_size": HUGE}),
        ("Qwen3VLVideoProcessor", {"num_frames": HUGE, "do_sample_frames": True}),
        ("Qwen3VLVideoProcessor", {"min_frames": HUGE, "max_frames": HUGE, "fps": None, "num_frames": 2 * HUGE}),
        ("Qwen3VLVideoProcessor", {"size": {"shortest_edge": HUGE, "longest_edge": 2 * HUGE}}),
        ("SmolVLMVideoProcessor", {"max_image_size": {"longest_edge": 2**15}}),
        ("SmolVLMVideoProcessor", {"size": {"longest_edge": HUGE}}),
        ("LlavaOnevisionVideoProcessor", {"size": {"height": 2**15, "width": 2**15}}),
        ("InternVLVideoProcessor", {"num_frames": HUGE, "do_sample_frames": True}),
    ],
)
def test_settings_that_would_fill_the_memory(kind: str, settings: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps({"video_processor_type": kind, **settings}))
    video = np.zeros((4, 32, 32, 3), np.uint8)
    tracemalloc.start()
    try:
        with pytest.raises(OnnxPipeError):
            AutoVideoProcessor.from_pretrained(tmp_path)(video)
        assert tracemalloc.get_traced_memory()[1] < _LIMIT
    finally:
        tracemalloc.stop()


def test_all_frames_at_a_rate_beyond_the_video_s(tmp_path: Path) -> None:
    config = {"video_processor_type": "SmolVLMVideoProcessor", "num_frames": HUGE, "fps": 1e9, "do_sample_frames": True}
    (tmp_path / "video_preprocessor_config.json").write_text(json.dumps(config))
    processor: Any = AutoVideoProcessor.from_pretrained(tmp_path)
    video, facts = np.zeros((4, 32, 32, 3), np.uint8), {"total_num_frames": 4, "fps": 10.0}
    assert processor(video, video_metadata=facts)["pixel_values"].shape[1] == 4
    with pytest.raises(ImageError, match="4 were passed"):
        processor(video, video_metadata={"total_num_frames": HUGE, "fps": 10.0})
