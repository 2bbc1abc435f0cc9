"""Vision models, on graphs whose answers are known: masks filled in, two encoders, points of an image."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from onnxpipe.bundle import Config
from onnxpipe.engine import Device
from onnxpipe.errors import UnsupportedError
from onnxpipe.models.dual_encoder import ImageDualEncoder
from onnxpipe.models.encoder import EncoderModel
from onnxpipe.models.segment_anything import SegmentAnything
from tolerances import ELEMENT


@dataclass
class Graph:
    """Stands for a session: inputs and outputs by name with their shapes, and what it answers."""

    inputs: Mapping[str, Any]
    outputs: Mapping[str, Any]
    answer: Any
    seen: list[dict[str, Any]] = field(default_factory=list)
    device: Device = field(default_factory=lambda: Device("cpu"))

    def run(self, feeds: dict[str, Any], outputs: Any = None) -> dict[str, Any]:
        assert set(feeds) == set(self.inputs)
        self.seen.append(feeds)
        return dict(zip(self.outputs, self.answer(feeds), strict=True))


def specs(**shapes: tuple[Any, ...]) -> dict[str, Any]:
    return {name: SimpleNamespace(name=name, shape=shape) for name, shape in shapes.items()}


def bundle(*graphs: str) -> Any:
    return SimpleNamespace(graphs=set(graphs), config=Config({"model_type": "clip"}), folder=Path("m"))


def opener(**graphs: Graph) -> Any:
    return lambda name: (graphs[name], "fp32")


def test_an_image_is_the_first_argument_and_its_mask_is_filled_in() -> None:
    graph = Graph(
        specs(pixel_values=("b", 3, "h", "w"), pixel_mask=("b", "h", "w")),
        specs(logits=("b", 5, 2)),
        lambda feeds: [np.zeros((len(feeds["pixel_values"]), 5, 2))],
    )
    model = EncoderModel.load(bundle("model"), opener(model=graph), "m")
    assert model.main_input_name == "pixel_values" and model.per_token == frozenset()
    images = np.zeros((2, 3, 4, 6), np.float32)
    assert model(images).logits.shape == model(pixel_values=images)["logits"].shape == (2, 5, 2)
    assert graph.seen[0]["pixel_mask"].shape == (2, 4, 6) and graph.seen[0]["pixel_mask"].all()

    half = np.ones((2, 4, 6), np.int64)
    half[1, 2:] = 0
    model(images, pixel_mask=half)
    assert graph.seen[-1]["pixel_mask"] is half


@pytest.mark.parametrize(("mask", "expected"), [({}, None), ({"pixel_mask": ("b", 64, 64)}, (2, 64, 64))])
def test_a_mask_of_ones_fits_any_graph(mask: dict[str, Any], expected: Any) -> None:
    """Graphs of optimum take the mask at a size of their own, or not at all."""
    graph = Graph(specs(pixel_values=("b", 3, "h", "w"), **mask), specs(logits=()), lambda feeds: [np.zeros(2)])
    model = EncoderModel.load(bundle("model"), opener(model=graph), "m")
    model(np.zeros((2, 3, 4, 6), np.float32), pixel_mask=np.ones((2, 4, 6), np.int64))
    assert getattr(graph.seen[0].get("pixel_mask"), "shape", None) == expected


def dual(texts: Graph | None) -> ImageDualEncoder:
    vision = Graph(
        specs(pixel_values=("b", 3, "h", "w")), specs(image_embeds=("b", 2)), lambda f: [f["pixel_values"][:, 0, 0, :2]]
    )
    graphs = {"vision_model": vision} | ({"text_model": texts} if texts else {})
    return ImageDualEncoder.load(bundle(*graphs), opener(**graphs), "m")


def text_graph(*outputs: str) -> Graph:
    def answer(feeds: dict[str, Any]) -> list[Any]:
        ids = feeds["input_ids"].astype(np.float32)
        return [np.stack([ids.sum(1), np.ones(len(ids))], 1), np.float32(10.0), np.float32(-1.0)][: len(outputs)]

    return Graph(specs(input_ids=("t", "s")), specs(**dict.fromkeys(outputs, ())), answer)


def test_two_encoders_agree_as_the_model_learnt_it() -> None:
    model = dual(text_graph("text_embeds", "logit_scale", "logit_bias"))
    assert (model.other_inputs, model.text_inputs, model.joint) == (("pixel_values",), ("input_ids",), False)
    images = np.zeros((1, 3, 1, 2), np.float32)
    images[0, 0, 0] = (3.0, 4.0)
    answer = model(input_ids=[[0, 0], [1, 2]], pixel_values=images)
    expected = [0.8 * 10 - 1, (0.6 * 3 + 0.8) / np.sqrt(10) * 10 - 1]
    np.testing.assert_allclose(answer.logits_per_image, [expected], rtol=ELEMENT)
    np.testing.assert_array_equal(answer.logits_per_text, answer.logits_per_image.T)
    np.testing.assert_allclose(answer.image_embeds, [[0.6, 0.8]], rtol=ELEMENT)
    assert model.get_image_features(images).tolist() == [[3.0, 4.0]]
    # of embeddings that were kept from an earlier session alone
    fresh = dual(text_graph("text_embeds", "logit_scale", "logit_bias"))
    np.testing.assert_array_equal(
        fresh.similarity(images[:, 0, 0], np.array([[0.0, 1.0]], np.float32)), answer.logits_per_image[:, :1]
    )


def test_a_text_encoder_without_its_scale_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="logit_scale"):
        dual(text_graph("text_embeds"))


def test_a_joint_graph_is_run_with_both() -> None:
    graph = Graph(
        specs(input_ids=("t", "s"), pixel_values=("b", 3, "h", "w"), attention_mask=("t", "s")),
        specs(logits_per_image=("b", "t")),
        lambda feeds: [np.zeros((len(feeds["pixel_values"]), len(feeds["input_ids"])), np.float32)],
    )
    model = ImageDualEncoder.load(bundle("model", "text_model", "vision_model"), opener(model=graph), "m")
    images = np.zeros((2, 3, 1, 1), np.float32)
    assert model.joint and model(input_ids=[[1], [2], [3]], pixel_values=images).logits_per_image.shape == (2, 3)
    with pytest.raises(UnsupportedError, match="together"):
        model.get_image_features(images)


def test_a_model_that_compares_nothing_is_refused() -> None:
    graph = Graph(specs(pixel_values=("b", 3, "h", "w")), specs(logits=("b", 5)), None)
    with pytest.raises(UnsupportedError, match="logits_per_image"):
        ImageDualEncoder.load(bundle("model"), opener(model=graph), "m")


def test_points_become_masks_of_one_encoded_image() -> None:
    encoder = Graph(
        specs(pixel_values=("b", 3, "h", "w")),
        specs(image_embeddings=("b", 1), image_positional_embeddings=("b", 1)),
        lambda feeds: [np.ones((1, 1)), np.ones((1, 1))],
    )
    decoder = Graph(
        specs(input_points=(), input_labels=(), image_embeddings=(), image_positional_embeddings=()),
        specs(iou_scores=(), pred_masks=()),
        lambda feeds: [feeds["input_points"].sum(-1), feeds["input_labels"]],
    )
    graphs = {"vision_encoder": encoder, "prompt_encoder_mask_decoder": decoder}
    model = SegmentAnything.load(bundle(*graphs), opener(**graphs), "m")
    image = np.zeros((1, 3, 4, 4), np.float32)
    embeddings = model.get_image_embeddings(image)
    for point in (1.0, 2.0):
        answer = model(image_embeddings=embeddings, input_points=[[[[point, 1.0]]]])
        assert answer.iou_scores.tolist() == [[[point + 1]]] and answer.pred_masks.tolist() == [[[1]]]
    assert len(encoder.seen) == 1
    for wrong in ({}, {"pixel_values": image, "image_embeddings": embeddings}):
        with pytest.raises(ValueError, match="pixel_values or image_embeddings"):
            model(input_points=[[[[1.0, 1.0]]]], **wrong)
    with pytest.raises(ValueError, match="input_points"):
        model(pixel_values=image)
