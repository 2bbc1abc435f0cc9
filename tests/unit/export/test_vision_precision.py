"""int8 and fp16 of vision graphs: what becomes 8 bits, the arithmetic against numpy, alone as in a batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnxpipe_export.onnx_graph import OnnxGraph  # noqa: E402
from onnxpipe_export.optimise import optimise  # noqa: E402
from onnxpipe_export.precision import convolution_plan, convolutions, makers, ranges  # noqa: E402
from tolerances import LAYER  # noqa: E402
from unit.export import graphs  # noqa: E402

CHANNELS, SIDE = 8, 12
Weights = dict[str, np.ndarray]


def node(kind: str, inputs: str, output: str, **attributes: Any) -> Any:
    names = [name.strip("_") for name in inputs.split()]  # "_" is an input that is left out
    return onnx.helper.make_node(kind, names, [output], **attributes)


def weights(*shapes: tuple[int, ...]) -> Weights:
    """w0, w1, ... of these shapes with biases b0, b1, ..., as large as keep activations near one."""
    random = np.random.default_rng(0)
    found: Weights = {}
    for number, shape in enumerate(shapes):
        spread = (2 / np.prod(shape[1:])) ** 0.5
        found[f"w{number}"] = (spread * random.standard_normal(shape)).astype(np.float32)
        found[f"b{number}"] = (0.1 * random.standard_normal(shape[0])).astype(np.float32)
    return found


def graph_of(nodes: Sequence[Any], constants: Weights, channels: int = 3) -> OnnxGraph:
    """pixel_values (batch, channels, height, width) float32 -> y."""
    shape = ["batch", channels, "height", "width"]
    return graphs.graph_of(nodes, constants, name="pixel_values", shape=shape)


def images(count: int, seed: int = 1, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, channels, SIDE, SIDE)).astype(np.float32)


def run(path: Path, x: np.ndarray) -> np.ndarray:
    return graphs.open_graph(path).run({"pixel_values": x})["y"]


def quantised(graph: OnnxGraph, folder: Path, precision: str = "int8", channels: int = 3) -> tuple[Path, Path]:
    """The fp32 file and that of the precision, calibrated on eight images."""
    full, small = folder / "model.onnx", folder / f"model_{precision}.onnx"
    graph.save(full)
    makers.VISION[precision](full, small, [{"pixel_values": x[None]} for x in images(8, channels=channels)])
    return full, small


def kinds(path: Path) -> Counter[str]:
    return Counter(each.op_type for each in OnnxGraph.load(path).graph.node)


def executed(path: Path) -> Counter[str]:
    """What ONNX Runtime makes of the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(path.with_suffix(".optimised.onnx"))
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return Counter(each.op_type for each in onnx.load(options.optimized_model_filepath).graph.node)


def residual() -> OnnxGraph:
    """A small residual network: stem, block, and a last convolution that gives the answer."""
    nodes = [
        node("Conv", "pixel_values w0 b0", "stem", pads=[1, 1, 1, 1]),
        node("Relu", "stem", "a"),
        node("MaxPool", "a", "pooled", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "pooled w1 b1", "inner", pads=[1, 1, 1, 1]),
        node("Relu", "inner", "c"),
        node("Conv", "c w2 b2", "outer"),
        node("Add", "outer pooled", "sum"),
        node("Relu", "sum", "d"),
        node("Conv", "d w3 b3", "e"),
        node("Relu", "e", "f"),
        node("Conv", "f w4 b4", "y"),
    ]
    each = (CHANNELS, CHANNELS, 3, 3), (CHANNELS, CHANNELS, 1, 1)
    return graph_of(nodes, weights((CHANNELS, 3, 3, 3), *each, each[0], (5, CHANNELS, 1, 1)))


def test_int8_answers_as_fp32_and_alone_as_in_a_batch(tmp_path: Path) -> None:
    full, small = quantised(residual(), tmp_path)
    x = images(5, seed=7)
    wanted, got = run(full, x), run(small, x)
    assert np.linalg.norm(got - wanted) < 0.03 * np.linalg.norm(wanted)
    for number in range(5):
        np.testing.assert_array_equal(run(small, x[number : number + 1])[0], got[number])


def test_int8_stays_8_bits_from_one_convolution_to_the_next(tmp_path: Path) -> None:
    _, small = quantised(residual(), tmp_path)
    found = executed(small)
    assert found["QLinearConv"] == 4 and found["QLinearAdd"] == 1
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1, "only the image and the last input"
    assert found["Relu"] == 0, "the cut of the range is the ReLU"


def test_the_last_convolution_stays_float32(tmp_path: Path) -> None:
    graph = residual()
    assert set(convolution_plan.plan(graph).convolutions) == {"stem", "inner", "outer", "e"}


def test_a_lone_convolution_stays_float32(tmp_path: Path) -> None:
    nodes = [
        node("Conv", "pixel_values w0 b0", "a"),
        node("Softplus", "a", "b"),
        node("Conv", "b w1 b1", "c", group=CHANNELS),
        node("Softplus", "c", "d"),
        node("Conv", "d w2 b2", "y"),
    ]
    shapes = (CHANNELS, 3, 3, 3), (CHANNELS, 1, 3, 3), (4, CHANNELS, 1, 1)
    full, small = quantised(graph_of(nodes, weights(*shapes)), tmp_path)
    assert kinds(small) == kinds(full)


def test_large_convolutions_of_a_denoiser_are_8_bits_by_themselves(tmp_path: Path) -> None:
    """The residual stream between them stays float32, so that no rounding is added up over blocks and steps."""
    wide = 40  # 3 x 3 are 180 multiplications for a number that is converted, 1 x 1 are 20
    nodes = [
        node("Conv", "pixel_values w0 b0", "stream", pads=[1, 1, 1, 1]),
        node("Softplus", "stream", "a"),
        node("Conv", "a w1 b1", "b", pads=[1, 1, 1, 1]),
        node("Add", "b stream", "sum"),
        node("Conv", "sum w2 b2", "small"),
        node("Conv", "small w3 b3", "y", pads=[1, 1, 1, 1]),
    ]
    shapes = (wide, 3, 3, 3), (wide, wide, 3, 3), (wide, wide, 1, 1), (wide, wide, 3, 3)
    graph = graph_of(nodes, weights(*shapes))
    assert dict(convolution_plan.alone(graph).convolutions) == {"b": "a"}
    full, small = tmp_path / "model.onnx", tmp_path / "model_int8.onnx"
    graph.save(full)
    makers.DENOISER["int8"](full, small, [{"pixel_values": x[None]} for x in images(8)])
    found = executed(small)
    assert found["QLinearConv"] == 1 and found["QLinearAdd"] == 0
    x = images(5, seed=7)
    wanted, got = run(full, x), run(small, x)
    assert np.linalg.norm(got - wanted) < 0.03 * np.linalg.norm(wanted)
    for number in range(5):
        np.testing.assert_array_equal(run(small, x[number : number + 1])[0], got[number])


def test_a_sum_with_a_stream_of_float32_stays_float32() -> None:
    """ConvNeXt: what is added to is kept as it is."""
    nodes = [
        node("Softplus", "pixel_values", "stream"),
        node("Conv", "stream w0 b0", "a", pads=[1, 1, 1, 1]),
        node("Relu", "a", "b"),
        node("Conv", "b w1 b1", "c", pads=[1, 1, 1, 1]),
        node("Add", "stream c", "sum"),
        node("Conv", "sum w2 b2", "d"),
        node("Relu", "d", "e"),
        node("Conv", "e w3 b3", "f"),
        node("Conv", "f w3 b3", "y"),
    ]
    plan = convolution_plan.plan(graph_of(nodes, weights((8, 3, 3, 3), (3, 8, 3, 3), (8, 3, 1, 1), (8, 8, 1, 1))))
    assert "sum" not in plan.ends and set(plan.taken) == {"stream", "sum"}


def test_convolutions_of_one_pixel_stay_float32(tmp_path: Path) -> None:
    """Squeeze and excitation: the factors of the channels are 8 bits only where they are multiplied with."""
    nodes = [
        node("Conv", "pixel_values w0 b0", "a"),
        node("GlobalAveragePool", "a", "pooled"),
        node("Conv", "pooled w1 b1", "squeezed"),
        node("Relu", "squeezed", "s"),
        node("Conv", "s w2 b2", "excited"),
        node("Sigmoid", "excited", "gate"),
        node("Mul", "a gate", "gated"),
        node("Conv", "gated w3 b3", "c"),
        node("Relu", "c", "d"),
        node("Conv", "d w4 b4", "y"),
    ]
    shapes = (
        (CHANNELS, 3, 3, 3),
        (4, CHANNELS, 1, 1),
        (CHANNELS, 4, 1, 1),
        (CHANNELS, CHANNELS, 1, 1),
        (3, CHANNELS, 1, 1),
    )
    graph = graph_of(nodes, weights(*shapes))
    assert set(convolution_plan.plan(graph).convolutions) == {"a", "c"}
    full, small = quantised(graph, tmp_path)
    assert executed(small)["QLinearMul"] == 1
    x = images(3, seed=5)
    wanted = run(full, x)
    assert np.linalg.norm(run(small, x) - wanted) < 0.03 * np.linalg.norm(wanted)


@pytest.mark.parametrize("both", [True, False])
def test_what_one_cut_stands_behind_is_concatenated_as_it_is(both: bool, tmp_path: Path) -> None:
    """Not so where one part has a ReLU and the other has not: in a range that begins below 0 it would be lost."""
    nodes = [
        node("Conv", "pixel_values w0 b0", "a"),
        node("Relu", "a", "b"),
        node("Conv", "pixel_values w1 b1", "c"),
        node("Relu", "c", "c_cut"),
        node("Concat", "b c_cut" if both else "b c", "d", axis=1),
        node("Conv", "d w2 b2", "e"),
        node("Relu", "e", "f"),
        node("Conv", "f w3 b3", "y"),
    ]
    shapes = (CHANNELS, 3, 3, 3), (CHANNELS, 3, 3, 3), (CHANNELS, 2 * CHANNELS, 1, 1), (3, CHANNELS, 1, 1)
    graph = graph_of(nodes, weights(*shapes))
    graph.tidy()
    full, small = quantised(graph, tmp_path)
    found = executed(small)
    assert (found["Concat"], found["QLinearConcat"]) == ((1, 0) if both else (0, 1))
    x = images(2, seed=5)
    wanted = run(full, x)
    assert np.linalg.norm(run(small, x) - wanted) < 0.03 * np.linalg.norm(wanted)


def test_padding_by_the_size_of_the_image_is_zeros_of_8_bits(tmp_path: Path) -> None:
    """A uint8 that stands for 0 is added, not 0, where a range begins below 0."""
    nodes = [
        node("Conv", "pixel_values w0 b0", "a"),
        node("Shape", "a", "shape"),
        node("Mod", "shape two", "odd"),
        node("Concat", "odd none", "ends", axis=0),
        node("Concat", "none_0 ends_2", "unused", axis=0),
        node("Pad", "a pads", "padded"),
        node("Conv", "padded w1 b1", "b"),
        node("Relu", "b", "c"),
        node("Conv", "c w2 b2", "y"),
    ]
    del nodes[3:5]
    # before nothing, after one row and column of an even image's 10: from the shape, so that it is not a constant
    nodes[3:3] = [
        node("Sub", "one odd", "even"),
        node("Mul", "even pixels", "after"),
        node("Concat", "none after", "pads", axis=0),
    ]
    constants = weights((CHANNELS, 3, 3, 3), (CHANNELS, CHANNELS, 3, 3), (3, CHANNELS, 1, 1)) | {
        "two": np.array([2], np.int64),
        "one": np.array([1], np.int64),
        "pixels": np.array([0, 0, 1, 1], np.int64),
        "none": np.zeros(4, np.int64),
    }
    constants["b0"] += 1.0
    full, small = quantised(graph_of(nodes, constants), tmp_path)
    pads = [each for each in OnnxGraph.load(small).graph.node if each.op_type == "Pad"]
    assert pads[0].input[0].endswith("uint8")
    x = images(2, seed=5)
    wanted = run(full, x)
    assert wanted.shape[-1] == SIDE - 2 + 1 - 2
    assert np.linalg.norm(run(small, x) - wanted) < 0.03 * np.linalg.norm(wanted)


def test_wide_products_become_8_bits_and_narrow_ones_do_not(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    constants = {
        "narrow": (0.3 * random.standard_normal((SIDE, 256))).astype(np.float32),
        "wide": (0.06 * random.standard_normal((256, 256))).astype(np.float32),
    }
    nodes = [node("MatMul", "pixel_values narrow", "a"), node("MatMul", "a wide", "y")]
    full, small = quantised(graph_of(nodes, constants), tmp_path)
    assert kinds(small)["MatMulIntegerToFloat"] == kinds(small)["MatMul"] == 1
    x = images(3, seed=5)
    wanted, got = run(full, x), run(small, x)
    assert np.linalg.norm(got - wanted) < 0.02 * np.linalg.norm(wanted)
    np.testing.assert_array_equal(run(small, x[:1])[0], got[0])


def test_without_images_convolutions_stay_float32(tmp_path: Path) -> None:
    residual().save(tmp_path / "model.onnx")
    makers.VISION["int8"](tmp_path / "model.onnx", tmp_path / "small.onnx", [])
    assert kinds(tmp_path / "small.onnx") == kinds(tmp_path / "model.onnx")


def test_filters_have_a_scale_each() -> None:
    weight = weights((4, 3, 3, 3))["w0"] * np.array([1, 100, 0.01, 0], np.float32).reshape(-1, 1, 1, 1)
    values, scales = convolutions.quantise_filters(weight)
    assert values.dtype == np.int8 and np.abs(values).max() == 127
    error = np.abs(values * scales.reshape(-1, 1, 1, 1) - weight).reshape(4, -1).max(axis=1)
    assert (error <= 0.5001 * scales).all()


@pytest.mark.parametrize("groups", [1, 2, 4])
def test_mean_error_is_what_constant_channels_give(groups: int) -> None:
    random = np.random.default_rng(0)
    error, means = random.standard_normal((4, 4 // groups, 3, 3)), random.standard_normal(4)
    per = 4 // groups
    wanted = [sum(error[n, c].sum() * means[n // per * per + c] for c in range(error.shape[1])) for n in range(4)]
    np.testing.assert_allclose(convolutions.mean_error(error, means, groups), wanted)


def observed(*values: np.ndarray) -> ranges.Observed:
    return ranges.Observed.joined([ranges.Observed.of(value.astype(np.float32)) for value in values])


def test_a_range_holds_0_exactly() -> None:
    normal = np.random.default_rng(0).standard_normal((1, 4, 64, 64))
    assert ranges.choose(observed(np.maximum(normal, 0))).zero == 0
    assert 0 < ranges.choose(observed(normal + 0.3)).zero < 255
    assert ranges.choose(observed(np.abs(normal) + 1)).zero == 0, "0 is in the range even where it never was"
    assert ranges.choose(observed(-np.abs(normal) - 1)).zero == 255
    assert ranges.choose(observed(np.zeros((1, 4, 8, 8)))).scale > 0


def test_a_range_goes_a_tenth_further_but_not_beyond_a_bound() -> None:
    both = observed(np.full((1, 2, 3, 3), 4.0), np.full((1, 2, 5, 5), -1.0))
    chosen = ranges.choose(both)
    assert chosen.scale * 255 == pytest.approx(5.5) and chosen.zero == 51
    assert ranges.choose(both, most=4.2).scale * 255 == pytest.approx(5.3)
    np.testing.assert_allclose(both.means, [1.5, 1.5])


def test_an_activation_whose_channels_change_has_no_means() -> None:
    assert observed(np.zeros((1, 4, 3)), np.zeros((1, 5, 3))).means.size == 0


def test_fixed_padding_goes_into_the_convolution(tmp_path: Path) -> None:
    constants = weights((CHANNELS, 3, 3, 3)) | {
        "eight": np.array([4], np.int64),
        "sides": np.array([0, 1, 0, 2], np.int64),
    }
    nodes = [
        node("ConstantOfShape", "eight", "zeros"),  # batch, channels: before; the height and width come after
        node("Slice", "zeros start end", "two"),
        node("Concat", "two one_one two sides_after", "pads", axis=0),
        node("Pad", "pixel_values pads", "padded"),
        node("Conv", "padded w0 b0", "y", pads=[0, 1, 0, 1]),
    ]
    constants |= {
        "start": np.array([0], np.int64),
        "end": np.array([2], np.int64),
        "one_one": np.array([1, 1], np.int64),
        "sides_after": np.array([0, 2], np.int64),
    }
    zeros = onnx.helper.make_tensor("zero", onnx.TensorProto.INT64, [1], [0])
    nodes[0].attribute.append(onnx.helper.make_attribute("value", zeros))
    del constants["sides"]
    graph = graph_of(nodes, constants)
    graph.save(tmp_path / "before.onnx")
    optimise(graph)
    graph.save(tmp_path / "after.onnx")
    assert kinds(tmp_path / "after.onnx") == {"Conv": 1}
    x = images(2)
    np.testing.assert_allclose(run(tmp_path / "after.onnx", x), run(tmp_path / "before.onnx", x), rtol=0, atol=LAYER)


@pytest.mark.parametrize(("mode", "fill"), [("reflect", 0.0), ("constant", 1.0)])
def test_other_padding_stays(mode: str, fill: float) -> None:
    constants = weights((CHANNELS, 3, 3, 3)) | {
        "pads": np.array([0, 0, 1, 1, 0, 0, 1, 1], np.int64),
        "fill": np.array(fill, np.float32),
    }
    nodes = [node("Pad", "pixel_values pads fill", "a", mode=mode), node("Conv", "a w0 b0", "y")]
    graph = graph_of(nodes, constants)
    optimise(graph)
    assert [each.op_type for each in graph.graph.node] == ["Pad", "Conv"]


def test_fp16_of_operators_of_vision_models(tmp_path: Path) -> None:
    """Resize, GridSample, TopK and a mask's constant, float32 outside."""
    constants = weights((4, 3, 3, 3)) | {
        "scales": np.array([1, 1, 2, 2], np.float32),
        "lowest": np.array(np.finfo(np.float32).min, np.float32),
        "half": np.array(0.5, np.float32),
        "three": np.array([3], np.int64),
        "flat": np.array([0, 4, -1], np.int64),
    }
    nodes = [
        node("Conv", "pixel_values w0 b0", "a"),
        node("Resize", "a _ scales", "b", mode="linear"),
        node("Less", "b half", "small"),
        node("Where", "small lowest b", "masked"),
        node("Reshape", "masked flat", "rows"),
        node("Softmax", "rows", "shares", axis=-1),
        onnx.helper.make_node("TopK", ["shares", "three"], ["y", "places"], axis=-1),
    ]
    full, small = quantised(graph_of(nodes, constants), tmp_path, "fp16")
    x = images(2, seed=5)
    wanted, got = run(full, x), run(small, x)
    assert got.dtype == np.float32 and np.isfinite(got).all()
    np.testing.assert_allclose(got, wanted, atol=5e-3)


def test_relu6_stays_6(tmp_path: Path) -> None:
    """Its cut is the range's end, which the tenth more does not move."""
    nodes = [
        node("Conv", "pixel_values w0 b0", "a"),
        node("Clip", "a none six", "b"),
        node("Conv", "b w1 b1", "c"),
        node("Clip", "c none six", "d"),
        node("Conv", "d w2 b2", "y"),
    ]
    shapes = (CHANNELS, 3, 3, 3), (CHANNELS, CHANNELS, 3, 3), (3, CHANNELS, 1, 1)
    constants = weights(*shapes) | {"none": np.array(0, np.float32), "six": np.array(6, np.float32)}
    constants["w0"] *= 8
    full, small = quantised(graph_of(nodes, constants), tmp_path)
    assert executed(small)["QLinearConv"] == 2 and kinds(small)["Clip"] == 0
    x = images(2, seed=5)
    wanted = run(full, x)
    assert np.linalg.norm(run(small, x) - wanted) < 0.03 * np.linalg.norm(wanted)
