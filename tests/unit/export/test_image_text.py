"""Export of models of images and text, of points, and of pairs of images: stand-ins for parts of them, and
what their graphs take and give."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")
pytest.importorskip("onnx")
import onnx
import torch
import transformers

from onnxpipe.bundle import proof
from onnxpipe.engine import Session, open_session, parse_device
from onnxpipe.errors import ExportError
from onnxpipe_export import tasks
from onnxpipe_export.checkpoint import Checkpoint
from onnxpipe_export.graphs import describe
from onnxpipe_export.graphs.shapes import sizes_as_tensors
from onnxpipe_export.graphs.vision import grounding_dino, keypoints
from onnxpipe_export.graphs.vision import superpoint as superpoint_module
from onnxpipe_export.graphs.vision.dual_encoder import resize_positions
from onnxpipe_export.graphs.vision.multihead import attend
from onnxpipe_export.graphs.wrapped import largest_difference
from onnxpipe_export.tokenizers import convert as tokenizers
from onnxpipe_export.tokenizers import slow as slow_tokenizers
from tolerances import LAYER, MODEL, SUM
from zoo.vision.image_text_models import MISSING, MODELS

_ZERO_SHOT, _DETECTION = "zero-shot-image-classification", "zero-shot-object-detection"
_TEXT_OUT = ("text_embeds", "logit_scale", "logit_bias")
_MATCHED = ("matches", "matching_scores", "keypoints", "mask")
_SAM2 = ("image_embeddings.0", "image_embeddings.1", "image_embeddings.2")
_SAM = ("image_embeddings", "image_positional_embeddings")
_POINTS = ("input_points", "input_labels")

# (family, task) -> graph -> what it takes and gives, by name
INTERFACES: dict[tuple[str, str], dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    ("clip", _ZERO_SHOT): {
        "vision_model": (("pixel_values",), ("image_embeds",)),
        "text_model": (("input_ids", "attention_mask"), _TEXT_OUT),
    },
    ("siglip", _ZERO_SHOT): {
        "vision_model": (("pixel_values",), ("image_embeds",)),
        "text_model": (("input_ids",), _TEXT_OUT),
    },
    ("siglip2", _ZERO_SHOT): {
        "vision_model": (("pixel_values", "pixel_attention_mask", "spatial_shapes"), ("image_embeds",)),
        "text_model": (("input_ids",), _TEXT_OUT),
    },
    ("align", _ZERO_SHOT): {
        "vision_model": (("pixel_values",), ("image_embeds",)),
        "text_model": (("input_ids", "attention_mask", "token_type_ids"), _TEXT_OUT),
    },
    ("chinese_clip", _ZERO_SHOT): {
        "vision_model": (("pixel_values",), ("image_embeds",)),
        "text_model": (("input_ids", "attention_mask", "token_type_ids"), _TEXT_OUT),
    },
    ("owlvit", _DETECTION): {
        "model": (("input_ids", "pixel_values", "attention_mask"), ("logits", "pred_boxes")),
    },
    ("owlv2", _DETECTION): {
        "model": (("input_ids", "pixel_values", "attention_mask"), ("logits", "pred_boxes")),
    },
    ("grounding-dino", _DETECTION): {
        "model": (
            ("pixel_values", "input_ids", "token_type_ids", "attention_mask", "pixel_mask"),
            ("logits", "pred_boxes"),
        ),
    },
    ("oneformer", "image-segmentation"): {
        "model": (("pixel_values", "task_inputs"), ("class_queries_logits", "masks_queries_logits")),
    },
    ("sam", "mask-generation"): {
        "vision_encoder": (("pixel_values",), _SAM),
        "prompt_encoder_mask_decoder": ((*_POINTS, *_SAM), ("iou_scores", "pred_masks")),
    },
    ("sam2", "mask-generation"): {
        "vision_encoder": (("pixel_values",), _SAM2),
        "prompt_encoder_mask_decoder": ((*_POINTS, *_SAM2), ("iou_scores", "pred_masks", "object_score_logits")),
    },
    ("superpoint", "keypoint-detection"): {
        "model": (("pixel_values",), ("keypoints", "scores", "descriptors", "mask")),
    },
    ("superglue", "keypoint-matching"): {"model": (("pixel_values",), _MATCHED)},
    ("lightglue", "keypoint-matching"): {"model": (("pixel_values",), _MATCHED)},
}


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Checkpoint]:
    """The zoo's model of a family for a task, loaded."""
    loaded: dict[tuple[str, str], Checkpoint] = {}

    def load(family: str, task: str) -> Checkpoint:
        if (family, task) not in loaded:
            folder = tmp_path_factory.mktemp(family)
            MODELS[family, task](folder)
            known = tasks.TASKS[task]
            auto_class = "AutoModelForUniversalSegmentation" if family == "oneformer" else known.auto_class
            model = getattr(transformers, auto_class).from_pretrained(str(folder)).eval()
            tokenizer = tokenizers.load(folder) if tokenizers.present(folder) else None
            loaded[family, task] = Checkpoint(str(folder), None, folder, model.config, known, model, tokenizer)
        return loaded[family, task]

    return load


@pytest.fixture(scope="module")
def sessions(
    checkpoints: Callable[[str, str], Checkpoint], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str, str, str], Session]:
    """A graph of the zoo's model, traced, as a session."""
    opened: dict[tuple[str, str, str], Session] = {}

    def load(family: str, task: str, name: str) -> Session:
        if (family, task, name) not in opened:
            root = tmp_path_factory.mktemp(f"{family}-{name}")
            graph = next(graph for graph in describe(checkpoints(family, task)) if graph.name == name)
            graph.trace(root / f"{name}.onnx")
            rewritten = onnx_graph(root / f"{name}.onnx")
            graph.optimise(rewritten)
            rewritten.save(root / f"{name}.onnx")
            opened[family, task, name] = open_session(root / f"{name}.onnx", root=root, device=parse_device("cpu"))
        return opened[family, task, name]

    return load


def onnx_graph(path: Path) -> Any:
    from onnxpipe_export.onnx_graph import OnnxGraph

    return OnnxGraph.load(path)


def test_every_family_is_built_or_has_a_reason() -> None:
    assert set(INTERFACES) == set(MODELS) | set(MISSING)


@pytest.mark.parametrize(("family", "task"), list(MODELS))
def test_graphs_take_and_give_what_the_runtime_knows(
    family: str, task: str, checkpoints: Callable[[str, str], Checkpoint]
) -> None:
    graphs = {graph.name: (graph.inputs, graph.outputs) for graph in describe(checkpoints(family, task))}
    assert graphs == INTERFACES[family, task]


@pytest.mark.parametrize(("family", "task"), [key for key in MODELS if key[0] not in ("grounding-dino", "oneformer")])
def test_graphs_answer_as_the_original(
    family: str,
    task: str,
    checkpoints: Callable[[str, str], Checkpoint],
    sessions: Callable[[str, str, str], Session],
) -> None:
    checkpoint = checkpoints(family, task)
    for graph in describe(checkpoint):
        session = sessions(family, task, graph.name)
        for case in graph.cases(checkpoint.tokenizer):
            reference = graph.reference(case.feeds)
            assert not proof.TOLERANCES["fp32"].faults(proof.compare(reference, session.run(case.feeds)))
        assert graph.invariance(session.run, checkpoint.tokenizer) <= MODEL


@pytest.mark.parametrize("family", ["clip", "siglip", "align"])
def test_the_two_graphs_give_the_joint_scores(
    family: str, checkpoints: Callable[[str, str], Checkpoint], sessions: Callable[[str, str, str], Session]
) -> None:
    checkpoint = checkpoints(family, _ZERO_SHOT)
    vision, text = describe(checkpoint)
    pixels = vision.cases(checkpoint.tokenizer)[0].feeds
    words = next(case for case in text.cases(checkpoint.tokenizer) if case.rows > 1).feeds
    images = sessions(family, _ZERO_SHOT, "vision_model").run(pixels)["image_embeds"]
    answer = sessions(family, _ZERO_SHOT, "text_model").run(words)
    images, texts = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (images, answer["text_embeds"]))
    scores = images @ texts.T * answer["logit_scale"] + answer["logit_bias"]
    with torch.no_grad():
        both = {name: torch.from_numpy(array) for name, array in (*pixels.items(), *words.items())}
        expected = checkpoint.model(**both).logits_per_image.numpy()
    np.testing.assert_allclose(scores, expected, rtol=0, atol=float(MODEL * answer["logit_scale"]))
    assert answer["logit_scale"].shape == answer["logit_bias"].shape == ()


# What stands in for parts of models


@pytest.mark.parametrize("grid", [(4, 4), (1, 7), (9, 2), (3, 5), (8, 8), (4, 1)])
def test_positions_are_resized_as_interpolate_does(grid: tuple[int, int]) -> None:
    table = torch.randn(4, 4, 6, generator=torch.Generator().manual_seed(1))
    height, width = grid
    longest = height * width + 3
    got = resize_positions(table, torch.tensor([grid, (2, 2)]), longest)
    whole = torch.nn.functional.interpolate(table.permute(2, 0, 1)[None], grid, mode="bilinear", antialias=True)
    expected = whole[0].flatten(1).T
    torch.testing.assert_close(got[0, : height * width], expected, rtol=0, atol=SUM)
    torch.testing.assert_close(got[0, height * width :], expected[:1].expand(3, -1), rtol=0, atol=SUM)


@pytest.mark.parametrize("ids", [[101, 5, 6, 1012, 7, 1012, 102], [101, 102], [101, 5, 6], [5, 1012, 6, 7], [1012]])
def test_phrases_are_decoded_as_in_the_original(ids: list[int]) -> None:
    from transformers.models.grounding_dino import modeling_grounding_dino as original

    special = torch.tensor(original.SPECIAL_TOKENS)
    rows = torch.tensor([ids, ids[::-1]])
    expected = original.generate_masks_with_special_tokens_and_transfer_map(rows, special)
    for found, wanted in zip(grounding_dino.phrase_masks(rows, special), expected, strict=True):
        assert torch.equal(found, wanted)


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("mask", [None, "hides", "adds", "each", "keys"])
def test_attention_is_torchs(batch_first: bool, mask: str | None) -> None:
    torch.manual_seed(3)
    module = torch.nn.MultiheadAttention(12, 3, batch_first=batch_first).eval()
    torch.nn.init.normal_(module.in_proj_bias)
    query, key = torch.randn(2, 4, 12), torch.randn(2, 5, 12)
    masks: dict[str | None, dict[str, Any]] = {
        None: {},
        "hides": {"attn_mask": torch.rand(4, 5) > 0.7},
        "adds": {"attn_mask": torch.randn(4, 5)},
        "each": {"attn_mask": torch.randn(6, 4, 5)},
        "keys": {"key_padding_mask": torch.tensor([[False] * 4 + [True], [False] * 5])},
    }
    given = (query, key, key + 1) if batch_first else tuple(one.transpose(0, 1) for one in (query, key, key + 1))
    with torch.no_grad():
        got, expected = attend(module, *given, **masks[mask])[0], module(*given, **masks[mask])[0]
        torch.testing.assert_close(got, expected, rtol=0, atol=LAYER)


def test_lists_of_sizes_stay_sizes_while_traced() -> None:
    def halves(tensor: Any) -> Any:
        sizes = torch.as_tensor([(tensor.shape[0], tensor.shape[1]), (1, 2)], dtype=torch.long)
        return sizes * 2

    with sizes_as_tensors():
        traced = torch.jit.trace(halves, torch.zeros(3, 4))
    assert traced(torch.zeros(5, 6)).tolist() == [[10, 12], [2, 4]]
    assert torch.as_tensor([1, 2]).tolist() == [1, 2]


def test_texts_have_a_mask_only_where_the_tokenizer_gives_one(
    checkpoints: Callable[[str, str], Checkpoint],
) -> None:
    _, text = describe(checkpoints("siglip", _ZERO_SHOT))
    lengths = {case.feeds["input_ids"].shape[1] for case in text.cases(checkpoints("siglip", _ZERO_SHOT).tokenizer)}
    assert lengths == {64}


@pytest.mark.parametrize(
    "text",
    [
        "This is a photo of Cat!",
        "  two  blanks, and an end ",
        "",
        "?!",
        "it's 50% off...",
        "a </s>cat",
        "</s> a cat",
        "▁x",
    ],
)
def test_siglips_words_are_cut_as_sentencepiece_cuts_them(
    text: str, checkpoints: Callable[[str, str], Checkpoint]
) -> None:
    checkpoint = checkpoints("siglip", _ZERO_SHOT)
    backend = slow_tokenizers.backends(checkpoint.tokenizer, checkpoint.folder).source
    assert backend.encode(text).ids == checkpoint.tokenizer(text)["input_ids"]


# Keypoints


@pytest.fixture
def blank() -> np.ndarray:
    """A pair without anything to see."""
    return np.full((1, 2, 3, 64, 80), 0.25, np.float32)


@pytest.mark.parametrize("family", ["superglue", "lightglue"])
def test_a_pair_without_keypoints_matches_nothing_and_changes_nothing(
    family: str,
    blank: np.ndarray,
    tmp_path: Path,
    checkpoints: Callable[[str, str], Checkpoint],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    checkpoint = checkpoints(family, "keypoint-matching")
    detector = checkpoint.model.keypoint_detector
    with torch.no_grad():
        encoded = detector.encoder(torch.from_numpy(blank[0, :, :1]))[0]
        highest = superpoint_module.pixel_scores(detector.keypoint_decoder, encoded).max().item()
    monkeypatch.setattr(detector.keypoint_decoder, "keypoint_threshold", highest + 1e-4)
    (graph,) = describe(checkpoint)
    graph.trace(tmp_path / "model.onnx")
    session = open_session(tmp_path / "model.onnx", root=tmp_path, device=parse_device("cpu"))

    nothing = session.run({"pixel_values": blank})
    assert nothing["matches"].shape == nothing["matching_scores"].shape == nothing["mask"].shape == (1, 2, 0)
    assert nothing["keypoints"].shape == (1, 2, 0, 2)

    pair = keypoints.synthetic_views(checkpoint, [3], (64, 80), 2)
    alone = session.run({"pixel_values": pair})
    together = session.run({"pixel_values": np.concatenate([blank, pair])})
    assert alone["mask"].any()
    assert not together["mask"][0].any()
    assert (together["matches"][0] == -1).all()
    np.testing.assert_array_equal(together["matches"][1:], alone["matches"])
    np.testing.assert_allclose(together["matching_scores"][1:], alone["matching_scores"], atol=MODEL)


def test_lightglue_without_giving_up_points_is_the_same(
    checkpoints: Callable[[str, str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    from onnxpipe_export.graphs.vision import lightglue as lightglue_module

    checkpoint = checkpoints("lightglue", "keypoint-matching")
    for name in ("depth_confidence", "width_confidence"):
        monkeypatch.setattr(checkpoint.model, name, -1.0)
    pixel_values = torch.from_numpy(keypoints.synthetic_views(checkpoint, [2], (64, 80), 2))
    with torch.no_grad():
        expected = checkpoint.model(pixel_values=pixel_values)
        got = lightglue_module.match(checkpoint.model, {"pixel_values": pixel_values})
    visible = expected.mask.bool()
    assert torch.equal(got["matches"][visible], expected.matches.reshape(1, 2, -1)[visible])


def test_lightglue_that_matches_nothing_is_refused(
    checkpoints: Callable[[str, str], Checkpoint], monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = checkpoints("lightglue", "keypoint-matching")
    monkeypatch.setattr(checkpoint.config, "width_confidence", -1.0)
    with pytest.raises(ExportError, match="width_confidence"):
        describe(checkpoint)


def test_half_precision_of_keypoints_is_of_products_only(
    tmp_path: Path, checkpoints: Callable[[str, str], Checkpoint]
) -> None:
    (graph,) = describe(checkpoints("superpoint", "keypoint-detection"))
    full, half = tmp_path / "full.onnx", tmp_path / "half.onnx"
    graph.trace(full)
    graph.makers["fp16"](full, half, [])
    model = onnx.load(half)
    small = {tensor.name for tensor in model.graph.initializer if tensor.data_type == onnx.TensorProto.FLOAT16}
    assert {node.op_type for node in model.graph.node if small & set(node.input)} == {"Conv"}


# Proofs


def test_equal_infinities_are_not_a_difference() -> None:
    reference = {"logits": np.array([[[1.0, 2.0, -np.inf], [3.0, -1.0, -np.inf]]], np.float32)}
    assert proof.compare(reference, reference).max_relative == 0
    assert proof.compare(reference, reference).cosine_min == 1
    other = {"logits": np.array([[[1.0, 2.0, -1e4], [3.0, -1.0, -np.inf]]], np.float32)}
    assert proof.compare(reference, other).max_relative == np.inf
    assert proof.agreement(reference, {"logits": reference["logits"][..., [1, 0, 2]]}) == 0
    assert largest_difference(reference, reference) == 0


@pytest.fixture(autouse=True)
def _nothing_stays_replaced() -> Iterator[None]:
    """What stands in for parts of torch and transformers is gone after a test."""
    before = (torch.as_tensor, torch.tensor, torch.Tensor.repeat_interleave, torch.nn.functional.interpolate)
    yield
    assert before == (torch.as_tensor, torch.tensor, torch.Tensor.repeat_interleave, torch.nn.functional.interpolate)
    original = sys.modules.get("transformers.models.grounding_dino.modeling_grounding_dino")
    if original is not None:
        assert original.generate_masks_with_special_tokens_and_transfer_map is not grounding_dino.phrase_masks
