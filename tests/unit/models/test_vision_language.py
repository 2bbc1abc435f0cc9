"""Images in prompts: embeddings that are replaced, positions, features by row, and the cache of what was encoded."""

from __future__ import annotations

import pickle
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe.bundle import Config
from onnxpipe.bundle.precision import Precisions
from onnxpipe.errors import BundleError, ImageError, PrecisionError, UnsupportedError
from onnxpipe.models.causal_lm.inputs import EmbeddedTokens, Positions, TokenEmbeddings, TokenFeature, TokenIds
from onnxpipe.models.vision_encoder import VisionEncoder
from onnxpipe.models.vision_language.families import family_of
from onnxpipe.models.vision_language.family import EncodedImages, join_encoded, split_encoded

IMAGE, VIDEO = 99, 98
LEFT = np.array([[False, True, True, True], [True, True, True, True]])
PLACES = np.array([[0, 0, 1, 2], [0, 1, 2, 3]])


class FakeGraph:
    """A graph that gives each id, or each pixel, twice as its embedding or feature.

    Attributes:
        runs: the shape of the first input of each run.
    """

    def __init__(self, *inputs: str, output: str) -> None:
        self.inputs, self.outputs, self.output = dict.fromkeys(inputs), {output: None}, output
        self.path, self.runs = "graph.onnx", []

    def run(self, feeds: dict[str, Any], outputs: Any = None) -> dict[str, Any]:
        value = next(iter(feeds.values()))
        self.runs.append(value.shape)
        assert not np.isin(value, [IMAGE, VIDEO]).any(), "a placeholder's id may be beyond the vocabulary"
        return {self.output: np.stack([value, value], axis=-1).astype(np.float32)}


def embeddings() -> TokenEmbeddings:
    return TokenEmbeddings(FakeGraph("input_ids", output="inputs_embeds"))  # type: ignore[arg-type]


def images(*lengths: int, layout: bool = False) -> EncodedImages:
    """Features that are numbered through, of so many images."""
    ends = np.cumsum([0, *lengths])
    features = [np.arange(a, b)[:, None] * np.ones(2) for a, b in pairwise(ends)]
    return {"features": features, "extra": {}, "layout": {"grid": np.arange(len(lengths))} if layout else {}}


def test_features_take_the_place_of_placeholders_in_the_order_of_rows() -> None:
    rows = [np.array([1, IMAGE, VIDEO]), np.array([IMAGE, 2, 3, 4])]
    inputs = EmbeddedTokens(embeddings(), rows, (IMAGE, VIDEO), np.array([[10, 11], [20, 21], [30, 31]], np.float32))
    embeds = inputs.prompt(LEFT, PLACES)["inputs_embeds"]
    assert embeds[0, 1:].tolist() == [[1, 1], [10, 11], [20, 21]]
    assert embeds[1].tolist() == [[30, 31], [2, 2], [3, 3], [4, 4]]
    right = LEFT[:, ::-1]
    assert inputs.prompt(right, PLACES)["inputs_embeds"][0, :3].tolist() == [[1, 1], [10, 11], [20, 21]]


def test_positions_of_several_axes_go_on_behind_the_prompt() -> None:
    """Those of a prompt are the family's; generated tokens count on from each prompt's own shift, whichever row."""
    rows = [np.array([1, 2, 3]), np.array([4, 5, 6, 7])]
    axes = [np.array([[0, 1, 1], [0, 1, 2], [0, 1, 3]]), np.arange(12).reshape(3, 4)]
    inputs = EmbeddedTokens(embeddings(), rows, positions=Positions(axes, np.array([1, -1])))
    ids = inputs.prompt(LEFT, PLACES)["position_ids"]
    assert ids.shape == (3, 2, 4)
    assert ids[:, 0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 2], [0, 0, 1, 3]]
    step = inputs.step(np.array([[8], [8], [8]]), np.array([[3], [4], [4]]), np.array([0, 1, 1]))
    assert step["position_ids"].tolist() == [[[4], [3], [3]]] * 3


def test_further_inputs_have_their_value_for_generated_tokens() -> None:
    rows = [np.array([1, 2, 3]), np.array([4, 5, 6, 7])]
    kinds = TokenFeature([np.array([0, 1, 1]), np.array([1, 1, 0, 0])], generated=7)
    deep = TokenFeature([np.ones((3, 2, 5), np.float32), np.ones((4, 2, 5), np.float32)])
    inputs = EmbeddedTokens(embeddings(), rows, extra={"token_type_ids": kinds, "deepstack": deep})
    prompt = inputs.prompt(LEFT, PLACES)
    assert prompt["token_type_ids"].tolist() == [[7, 0, 1, 1], [1, 1, 0, 0]]
    assert prompt["deepstack"].shape == (2, 4, 2, 5)
    assert not prompt["deepstack"][0, 0].any()
    step = inputs.step(np.array([[8, 9]]), np.array([[3, 4]]), np.array([1]))
    assert step["token_type_ids"].tolist() == [[7, 7]]
    assert step["deepstack"].shape == (1, 2, 2, 5)


def test_ids_without_embeddings() -> None:
    feeds = TokenIds([np.array([1, 2, 3]), np.array([4, 5, 6, 7])]).prompt(LEFT, PLACES)
    assert feeds["input_ids"].tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    with pytest.raises(BundleError, match="inputs_embeds"):
        TokenEmbeddings(FakeGraph("input_ids", output="logits"))  # type: ignore[arg-type]


def test_images_are_split_by_rows_and_joined_again() -> None:
    whole = images(2, 3, 1, layout=True)
    parts = split_encoded(whole, placeholders(5, 0, 1), [IMAGE])
    assert [len(part["features"]) for part in parts] == [2, 0, 1]
    assert parts[2]["layout"]["grid"].tolist() == [2]
    again = join_encoded(parts)
    assert [len(each) for each in again["features"]] == [2, 3, 1]
    assert again["layout"]["grid"].tolist() == [0, 1, 2]
    for counts, words in (((4, 2), "goes on in the next row"), ((6, 1), "tokens: 7, features: 6"), ((5,), "tokens: 5")):
        with pytest.raises(ImageError, match=words):
            split_encoded(whole, placeholders(*counts), [IMAGE])


def placeholders(*counts: int) -> list[np.ndarray]:
    """Prompts with so many placeholders of images between two words."""
    return [np.array([1, *[IMAGE] * count, 2]) for count in counts]


def test_images_and_videos_come_in_the_order_of_the_prompt() -> None:
    """Both are encoded kind by kind; a prompt may name a video first, and the kinds are counted each."""
    whole = images(2, 1, 3, 2)
    whole["layout"]["is_video"] = np.array([False, False, True, True])
    rows = [np.array([VIDEO, VIDEO, VIDEO, IMAGE, IMAGE, 5]), np.array([IMAGE, 4, VIDEO, VIDEO])]
    parts = split_encoded(whole, rows, [IMAGE, VIDEO])
    assert [len(entry) for entry in parts[0]["features"]] == [3, 2]
    assert parts[0]["layout"]["is_video"].tolist() == [True, False]
    assert [entry[0, 0] for entry in parts[1]["features"]] == [2, 6]
    with pytest.raises(ImageError, match="Video features and video tokens do not match, tokens: 4, features: 5"):
        split_encoded(whole, [rows[0], rows[1][:-1]], [IMAGE, VIDEO])
    mixed = [np.array([VIDEO, IMAGE, IMAGE, VIDEO, VIDEO]), rows[1]]
    with pytest.raises(ImageError, match="behind one of another kind"):
        split_encoded(whole, mixed, [IMAGE, VIDEO])


def test_pieces_are_encoded_once_in_runs_of_one_shape() -> None:
    graph = FakeGraph("pixel_values", output="image_features")
    opened: list[str] = []

    def opener(name: str) -> Any:
        opened.append(name)
        return graph, "fp32"

    vision = VisionEncoder(opener, batched=True)
    small = [{"pixel_values": np.full((1, 3), number)} for number in range(6)]
    wide = {"pixel_values": np.full((1, 5), 9), "unknown_to_the_graph": np.zeros(1)}
    assert not vision.encode([])
    assert not opened
    found = vision.encode([small[0], wide, small[1], small[0]])
    assert [each["image_features"][0, 0] for each in found] == [0, 9, 1, 0]
    assert graph.runs == [(2, 3), (1, 5)]
    vision.encode(small)
    assert graph.runs[2:] == [(4, 3)]
    assert opened == ["vision_encoder"]
    assert vision.runs == 7


def test_a_pickled_encoder_starts_anew() -> None:
    vision = VisionEncoder(SimpleNamespace, batched=True, kept=5)  # type: ignore[arg-type]
    vision.runs = 3
    copy = pickle.loads(pickle.dumps(vision))  # noqa: S301 - its own bytes
    assert (copy._kept, copy.runs, copy.is_open) == (5, 0, False)


def test_families_that_are_not_known_are_named() -> None:
    assert family_of(Config({"model_type": "llava"})).batched
    with pytest.raises(UnsupportedError, match="llava_next"):
        family_of(Config({"model_type": "minicpmv"}))


def test_precisions_of_graphs() -> None:
    wanted = Precisions.of({"vision_encoder": "float16", "decoder_model_merged": "q4"})
    assert [wanted.wanted(name) for name in ("vision_encoder", "decoder_model_merged", "other")] == [
        "fp16",
        "q4",
        "auto",
    ]
    assert Precisions.of("vision_encoder=fp16,decoder_model_merged=int4") == wanted
    assert Precisions.of("int8").wanted("any") == "int8"
    with pytest.raises(PrecisionError, match="int3"):
        Precisions.of({"vision_encoder": "int3"})
    with pytest.raises(PrecisionError, match="names the graph 'x', and M has a, b"):
        Precisions.of("x=fp16").check(["b", "a"], "M")
