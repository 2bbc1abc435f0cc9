"""The noise of image generation against torch's own generator, in sequences of draws of all kinds of sizes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers.utils.torch_utils import randn_tensor

from onnxpipe.diffusion.random import Generator, as_generators, draw
from tolerances import float32

SIZES = (3, 1, 15, 16, 17, 31, 1000, 2, 16384, 5, 16385, 7, 1248, 640)
TOLERANCE = float32(5.0, 4)
"""See tests/unit/diffusion/test_random.py."""


@pytest.mark.parametrize("seed", [0, 42, -1, 2**32 + 5, 2**64 - 1])
def test_draws_torchs_stream(seed: int) -> None:
    original, ours = torch.Generator().manual_seed(seed), Generator().manual_seed(seed)
    assert ours.initial_seed() == original.initial_seed()
    for size in SIZES:
        expected = torch.randn(size, generator=original).numpy()
        np.testing.assert_allclose(ours.normal((size,)), expected, rtol=0, atol=TOLERANCE)


def test_torchs_own_generator_can_be_passed_and_moves_on() -> None:
    """Draws alternate between torch and us on one generator; a second one, on which torch draws all, is the judge."""
    judge, shared = torch.Generator().manual_seed(9), torch.Generator().manual_seed(9)
    for number, size in enumerate(SIZES * 2):
        expected = torch.randn(size, generator=judge).numpy()
        ours = number % 3 != 0
        drawn = draw((size,), as_generators(shared, 1)) if ours else torch.randn(size, generator=shared).numpy()
        np.testing.assert_allclose(drawn, expected, rtol=0, atol=TOLERANCE)
        assert torch.equal(shared.get_state()[:5016], judge.get_state()[:5016])  # beyond it, the number kept of a pair


def test_batches_and_lists_are_drawn_as_in_diffusers() -> None:
    shape = (3, 4, 9, 7)
    together = randn_tensor(shape, generator=torch.Generator().manual_seed(5)).numpy()
    np.testing.assert_allclose(draw(shape, as_generators(5, 3)), together, rtol=0, atol=TOLERANCE)
    apart = randn_tensor(shape, generator=[torch.Generator().manual_seed(seed) for seed in (5, 6, 7)]).numpy()
    np.testing.assert_allclose(draw(shape, as_generators([5, 6, 7], 3)), apart, rtol=0, atol=TOLERANCE)
