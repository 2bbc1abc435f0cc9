"""Families of vision-language models, from images and messages to tokens, next to transformers' `generate`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import onnxpipe
from onnxpipe.errors import ImageError
from onnxpipe.generation.streamers import TextStreamer
from onnxpipe.models.auto import AutoModelForImageTextToText
from onnxpipe.models.vision_language.qwen_vl import rope_positions
from onnxpipe.processing.auto import AutoProcessor
from onnxpipe.processing.images.io.load import load_image
from zoo.vision.images import encoded
from zoo.vision_language import HEAD, PRECISIONS

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

Models = Callable[[str, str], Path]
Bundles = Callable[..., Path]
FAMILIES = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl", "gemma3")
GREEDY = {"max_new_tokens": 12, "do_sample": False}
every_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def images() -> dict[str, Image.Image]:
    return {name: load_image(encoded(name)[0]) for name in ("photo", "odd", "wide", "second")}


@cache
def original(folder: Path) -> Any:
    return transformers.AutoModelForImageTextToText.from_pretrained(folder).eval()


def user(*parts: Any) -> dict[str, Any]:
    """A message of texts and images."""
    content = [
        {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": part} for part in parts
    ]
    return {"role": "user", "content": content}


def prepared(processor: Any, chats: Any) -> Mapping[str, np.ndarray]:
    options = {"padding": True, "padding_side": "left"}
    found: Mapping[str, np.ndarray] = processor.apply_chat_template(
        chats, tokenize=True, return_dict=True, add_generation_prompt=True, processor_kwargs=options
    )
    return found


def expected(model: Any, features: Mapping[str, np.ndarray], **options: Any) -> list[list[int]]:
    tensors = {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in features.items()}
    with torch.inference_mode():
        return model.generate(**tensors, **{**GREEDY, **options}).tolist()  # type: ignore[no-any-return]


@every_family
def test_two_images_of_different_sizes_in_one_message(
    family: str, models: Models, bundles: Bundles, images: Mapping[str, Image.Image]
) -> None:
    folder = bundles(family, HEAD, PRECISIONS)
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    features = prepared(processor, [user(images["photo"], images["wide"], "What do they have in common?")])
    assert model.generate(**features, **GREEDY).tolist() == expected(original(models(family, HEAD)), features)
    beams = {"num_beams": 3}
    found = model.generate(**features, **GREEDY, **beams).tolist()
    assert found == expected(original(models(family, HEAD)), features, **beams)


@every_family
def test_a_left_padded_batch(family: str, models: Models, bundles: Bundles, images: Mapping[str, Image.Image]) -> None:
    """One image, two, none; each row as alone."""
    folder = bundles(family, HEAD, PRECISIONS)
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    chats = [
        [user("And this?", images["odd"])],
        [user(images["second"], images["wide"], "Which of the two is larger, and why?")],
        [user("Hello")],
    ]
    features = prepared(processor, chats)
    found = model.generate(**features, **GREEDY)
    assert found.tolist() == expected(original(models(family, HEAD)), features)
    length = features["input_ids"].shape[1]
    for row, chat in enumerate(chats):
        alone = prepared(processor, chat)
        new = model.generate(**alone, **GREEDY)[0, alone["input_ids"].shape[1] :]
        assert found[row, length : length + len(new)].tolist() == new.tolist()


@every_family
def test_a_second_turn_streamed(
    family: str, models: Models, bundles: Bundles, images: Mapping[str, Image.Image]
) -> None:
    folder = bundles(family, HEAD, PRECISIONS)
    processor, model = AutoProcessor.from_pretrained(folder), AutoModelForImageTextToText.from_pretrained(folder)
    turns = [user(images["photo"], "What is this?"), {"role": "assistant", "content": "A cat."}]
    model.generate(**prepared(processor, turns[:1]), **GREEDY)
    runs = model.vision.runs
    features = prepared(processor, [*turns, user("Are you sure?", images["odd"])])
    chunks: list[str] = []

    class Streamer(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            chunks.append(text)

    found = model.generate(**features, streamer=Streamer(processor.tokenizer, skip_prompt=True), **GREEDY)
    pieces = len(model.family.pieces(prepared(processor, [user(images["odd"])])))
    assert model.vision.runs == runs + pieces, "the first image was encoded in the first turn"
    assert found.tolist() == expected(original(models(family, HEAD)), features)
    new = found[0, features["input_ids"].shape[1] :]
    assert "".join(chunks).rstrip("\n") == processor.decode(new, clean_up_tokenization_spaces=False).rstrip("\n")


# -- PaliGemma: prompts without a chat ------------------------------------------------------------------------------
def test_prompts_of_paligemma(models: Models, bundles: Bundles, images: Mapping[str, Image.Image]) -> None:
    """One image, two, in a left-padded batch; through the pipeline too."""
    folder = bundles("paligemma", HEAD, PRECISIONS)
    processor: Any = AutoProcessor.from_pretrained(folder)
    model = AutoModelForImageTextToText.from_pretrained(folder)
    texts = ["caption en", "<image><image>what do they have in common?"]
    both = [[images["odd"]], [images["photo"], images["wide"]]]
    rows = [processor(images=chosen, text=text) for chosen, text in zip(both, ["<image>caption en", texts[1]])]
    together = processor(images=both, text=["<image>caption en", texts[1]], padding=True, padding_side="left")
    for features in (*rows, together):
        assert model.generate(**features, **GREEDY).tolist() == expected(original(models("paligemma", HEAD)), features)
    pipe = onnxpipe.pipeline("image-text-to-text", folder, device="cpu")
    answer = pipe(images=[images["odd"]], text="<image>caption en", return_full_text=False, **GREEDY)
    new = model.generate(**rows[0], **GREEDY)[0, rows[0]["input_ids"].shape[1] :]
    assert answer[0]["generated_text"] == processor.decode(new, skip_special_tokens=True)


# -- positions of Qwen-VL ---------------------------------------------------------------------------------------------
def test_positions_of_images_and_text(models: Models) -> None:
    """Those of the original for 60 left-padded batches of random prompts, and how much further generation goes on."""
    model = original(models("qwen2_vl", HEAD)).model
    token, rng = model.config.image_token_id, np.random.default_rng(3)
    for _ in range(60):
        rows, grids = [], []
        for _ in range(rng.integers(1, 4)):
            row = list(rng.integers(5, 90, rng.integers(0, 5)))
            for _ in range(rng.integers(0, 3)):
                grid = np.array([1, *(2 * rng.integers(1, 5, 2))])
                grids.append(grid)
                row += [token] * int(grid.prod() // 4) + list(rng.integers(5, 90, rng.integers(1, 6)))
            rows.append(np.array([*row, 7]))
        length = max(map(len, rows))
        ids = np.stack([np.pad(row, (length - len(row), 0)) for row in rows])
        mask = np.stack([np.arange(length) >= length - len(row) for row in rows])
        grid = torch.from_numpy(np.stack(grids)) if grids else None
        types = torch.from_numpy((ids == token).astype(np.int64))
        positions, shifts = model.get_rope_index(
            torch.from_numpy(ids), types, grid, attention_mask=torch.from_numpy(mask.astype(np.int64))
        )
        rest = grids
        for number, row in enumerate(rows):
            found, shift, used = rope_positions(row == token, rest, 2, [1] * len(rest))
            rest = rest[used:]
            assert found.dtype == np.int64
            np.testing.assert_array_equal(found, positions[:, number, mask[number]].numpy())
            assert shift == shifts[number, 0]


def test_images_next_to_each_other_have_their_own_positions() -> None:
    """Where nothing is between two images, their grids say where one ends (the original takes them for one)."""
    grids = [np.array([1, 4, 2]), np.array([1, 2, 4])]
    found, shift, used = rope_positions(np.array([1, 1, 1, 1, 0], bool), grids, 2, [1, 1])
    assert found.tolist() == [[0, 0, 2, 2, 4], [0, 1, 2, 2, 4], [0, 0, 2, 3, 4]]
    assert (shift, used) == (0, 2)


@pytest.mark.parametrize("row", [[1, 1, 1], [1, 0, 1], [1, 1, 1, 1, 1, 1]])
def test_tokens_that_do_not_fit_their_grids(row: list[int]) -> None:
    with pytest.raises(ImageError):
        rope_positions(np.array(row, bool), [np.array([1, 4, 2]), np.array([1, 2, 4])][: len(row) // 2], 2, [1, 1])
