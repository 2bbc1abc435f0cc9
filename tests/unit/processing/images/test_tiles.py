"""Image processors of vision-language models: what they refuse, and how their files' settings are read. Their numbers
are compared with transformers' in tests/conformance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

Image = pytest.importorskip("PIL.Image")

from onnxpipe.errors import BundleError, ImageError, UnsupportedError  # noqa: E402
from onnxpipe.processing.images.llava import LlavaNextImageProcessor, best_canvas, fit  # noqa: E402
from onnxpipe.processing.images.qwen2_vl import Qwen2VLImageProcessor, size_in_blocks  # noqa: E402
from onnxpipe.processing.images.tiles import (  # noqa: E402
    MAX_TILES,
    GotOcr2ImageProcessor,
    SmolVLMImageProcessor,
    best_grid,
)


def image(height: int, width: int) -> Any:
    """Draw an image by a formula."""
    return Image.fromarray((np.arange(height * width * 3) % 251).astype(np.uint8).reshape(height, width, 3))


def test_more_tiles_than_are_allowed_are_refused() -> None:
    small = SmolVLMImageProcessor(size={"longest_edge": 400}, max_image_size={"longest_edge": 2})
    with pytest.raises(ImageError, match=f"more than {MAX_TILES}"):
        small(image(300, 300))
    with pytest.raises(ImageError, match=f"more than {MAX_TILES}"):
        GotOcr2ImageProcessor(crop_to_patches=True, max_patches=10**9)(image(20, 20))


def test_tiles_of_one_image_lie_row_by_row_with_the_whole_last() -> None:
    processor = SmolVLMImageProcessor(
        size={"longest_edge": 40}, max_image_size={"longest_edge": 20}, do_normalize=False, do_rescale=False
    )
    features = processor(image(20, 40), return_row_col_info=True)
    assert features["pixel_values"].shape == (1, 3, 3, 20, 20)
    assert (features["rows"], features["cols"]) == ([[1]], [[2]])
    joined = np.concatenate(list(features["pixel_values"][0, :2]), axis=2)
    assert np.array_equal(joined.transpose(1, 2, 0), np.asarray(image(20, 40)))


def test_padding_of_samples_with_fewer_tiles_is_masked() -> None:
    processor = SmolVLMImageProcessor(size={"longest_edge": 40}, max_image_size={"longest_edge": 20})
    features = processor([[image(20, 40)], [image(40, 40), image(20, 20)]])
    tiles = features["pixel_attention_mask"].any(axis=(2, 3)).sum(axis=1)
    assert tiles.tolist() == [3, 10]
    assert not features["pixel_values"][0, 3:].any()


@pytest.mark.parametrize("images", [[[], []], [[image(4, 4)], image(4, 4)]], ids=["no images", "a mix"])
def test_lists_that_are_no_samples(images: Any) -> None:
    with pytest.raises(ImageError):
        SmolVLMImageProcessor()(images)


@pytest.mark.parametrize(
    ("settings", "size"),
    [
        ({"min_pixels": 400, "max_pixels": 1600}, {"shortest_edge": 400, "longest_edge": 1600}),
        ({"size": {"min_pixels": 400, "max_pixels": 1600}}, {"shortest_edge": 400, "longest_edge": 1600}),
        ({"size": {"shortest_edge": 400, "longest_edge": 900}, "max_pixels": 1600},
         {"shortest_edge": 400, "longest_edge": 1600}),
        ({"max_pixels": 12845056}, {"shortest_edge": 3136, "longest_edge": 12845056}),
    ],
)  # fmt: skip
def test_bounds_of_pixels_by_their_older_names(settings: dict[str, Any], size: dict[str, int]) -> None:
    processor = Qwen2VLImageProcessor.from_dict(settings)
    assert processor.size == size
    assert Qwen2VLImageProcessor.from_dict(processor.to_dict()).size == size


def test_bounds_of_pixels_of_a_call() -> None:
    processor = Qwen2VLImageProcessor(patch_size=5, merge_size=2)
    features = processor(image(30, 60), min_pixels=100, max_pixels=400)
    assert features["image_grid_thw"].tolist() == [[1, 2, 4]]
    assert features["pixel_values"].shape == (8, 3 * 2 * 5 * 5)


def test_images_that_are_too_long_are_refused() -> None:
    with pytest.raises(ImageError, match="smaller than 200"):
        Qwen2VLImageProcessor()(image(2, 500))
    with pytest.raises(ImageError, match="blocks of 28"):
        Qwen2VLImageProcessor()(image(28, 30), do_resize=False)


def test_sizes_in_blocks() -> None:
    assert size_in_blocks(100, 200, 28, 3136, 10**6) == (112, 196)
    assert size_in_blocks(1000, 2000, 28, 3136, 28 * 28 * 8) == (56, 112)
    assert size_in_blocks(10, 20, 28, 3136, 10**6) == (56, 84)


def test_the_best_canvas() -> None:
    canvases = ((336, 672), (672, 336), (672, 672))
    assert best_canvas((100, 200), canvases) == (336, 672)
    assert best_canvas((600, 300), canvases) == (672, 336)
    assert fit((100, 400), (336, 672)) == (168, 672)
    assert best_grid((100, 300), (100, 100), 1, 12) == (3, 1)
    assert best_grid((100, 100), (40, 40), 1, 12) == (3, 3)


@pytest.mark.parametrize("value", [[], [[1]], "336", [[336, 0]], [336, 672]])
def test_canvases_that_are_none(value: Any) -> None:
    with pytest.raises(UnsupportedError):
        LlavaNextImageProcessor(image_grid_pinpoints=value)
    with pytest.raises(BundleError):
        LlavaNextImageProcessor.from_dict({"image_grid_pinpoints": value})
