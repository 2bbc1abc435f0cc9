"""PyTorch's stream of random numbers, without PyTorch: against numbers that torch 2.13 drew once."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest

from onnxpipe.diffusion.random import Generator, as_generators, draw, seeds_of
from onnxpipe.errors import UnsupportedError
from tolerances import float32

#: torch.randn(20, generator=g) and then torch.randn(3, generator=g) of g = torch.Generator().manual_seed(42).
TWENTY = [
    1.9269152879714966, 1.4872840642929077, 0.9007171988487244, -2.1055212020874023, -0.7581310868263245,
    1.078317642211914, 0.8008005023002625, 1.6806204319000244, 0.3558599054813385, -0.6866229772567749,
    -0.4933563470840454, 0.2414877861738205, -0.2316243052482605, 0.041759490966796875, -0.2515752613544464,
    0.859858512878418, -0.3097267746925354, -0.3957104980945587, 0.8034093379974365, -0.6215953826904297,
]  # fmt: skip
THREE = [-0.765838623046875, -0.7506223320960999, 1.3525477647781372]
TOLERANCE = float32(4.0, 4)
"""Normal numbers are below 5 or so; logarithm, root, cosine and product are four roundings."""


def test_draws_torchs_numbers() -> None:
    generator = Generator("cpu").manual_seed(42)
    np.testing.assert_allclose(generator.normal((4, 5)).reshape(-1), TWENTY, rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(generator.normal((3,)), THREE, rtol=0, atol=TOLERANCE)


def test_a_generator_that_nobody_seeded_has_torchs_default_seed() -> None:
    assert Generator().initial_seed() == 67280421310721
    np.testing.assert_array_equal(Generator().normal((16,)), Generator().normal((16,)))


@pytest.mark.parametrize(("seed", "initial"), [(-1, 2**64 - 1), (2**64 - 1, 2**64 - 1), (2**32 + 5, 2**32 + 5)])
def test_seeds_have_64_bits_of_which_32_count(seed: int, initial: int) -> None:
    generator = Generator().manual_seed(seed)
    assert generator.initial_seed() == initial
    same = Generator().manual_seed(seed % 2**32)
    np.testing.assert_array_equal(generator.normal((40,)), same.normal((40,)))


def test_a_drawn_seed_repeats_the_stream() -> None:
    generator = Generator()
    again = Generator().manual_seed(generator.seed())
    np.testing.assert_array_equal(generator.normal((40,)), again.normal((40,)))
    assert Generator().seed() != generator.initial_seed()


def _pickled(generator: Generator) -> Generator:
    return pickle.loads(pickle.dumps(generator))  # noqa: S301 - our own bytes


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, _pickled], ids=["copy", "deepcopy", "pickle"])
def test_copies_go_on_alone(twin: object) -> None:
    generator = Generator().manual_seed(1)
    generator.normal((5,))  # keeps the second number of a pair
    other = twin(generator)  # type: ignore[operator]
    assert other.initial_seed() == 1
    expected = generator.normal((30,)), generator.normal((4,))
    for numbers in expected:
        np.testing.assert_array_equal(other.normal(numbers.shape), numbers)


def test_nothing_is_drawn_for_an_empty_shape() -> None:
    generator = Generator().manual_seed(3)
    assert generator.normal((0, 4)).shape == (0, 4)
    np.testing.assert_array_equal(generator.normal((20,)), Generator().manual_seed(3).normal((20,)))


def test_one_generator_draws_the_batch_and_several_an_image_each() -> None:
    shape = (2, 4, 8, 8)
    together = draw(shape, as_generators(42, 2))
    np.testing.assert_array_equal(together, Generator().manual_seed(42).normal(shape))
    apart = draw(shape, as_generators([42, Generator().manual_seed(7)], 2))
    np.testing.assert_array_equal(apart[0], Generator().manual_seed(42).normal(shape[1:]))
    np.testing.assert_array_equal(apart[1], Generator().manual_seed(7).normal(shape[1:]))
    np.testing.assert_array_equal(draw(shape, as_generators([42], 1)), together)


def test_generators_of_numpy_are_sources_too() -> None:
    for make in (np.random.RandomState, np.random.default_rng):
        noise = draw((1, 30), as_generators(make(3), 1))
        assert noise.dtype == np.float32
        np.testing.assert_array_equal(noise, make(3).standard_normal((1, 30)).astype(np.float32))


def test_without_a_seed_every_call_has_another() -> None:
    one, other = as_generators(None, 1), as_generators(None, 1)
    assert seeds_of(one) != seeds_of(other)
    assert seeds_of([Generator().manual_seed(5), *as_generators(np.random.default_rng(1), 1)]) == [5, None]


def test_bad_seeds_are_refused() -> None:
    with pytest.raises(ValueError, match="2 seeds or generators were passed for 3 images"):
        as_generators([1, 2], 3)
    with pytest.raises(ValueError, match="2 generators cannot draw a batch of 3"):
        draw((3, 4), as_generators([1, 2], 2))
    for seed in ("42", 1.5, True):
        with pytest.raises(TypeError, match="a seed is an int"):
            as_generators(seed, 1)
    with pytest.raises(ValueError, match="64 bits"):
        Generator().manual_seed(2**64)
    with pytest.raises(UnsupportedError, match='pass "cpu"'):
        Generator("cuda:0")
