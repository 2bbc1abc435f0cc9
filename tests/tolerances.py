"""How far two correct results of float32 arithmetic may be apart, derived once for the whole suite.

PyTorch, ONNX Runtime and NumPy choose their kernels by the processor (AVX2, AVX512, VNNI, BF16, NEON) and by the shape
of the batch. Kernels add the products of a sum in another order and width, fuse multiplications with additions or do
not, and approximate exp, tanh and erf to a few units in the last place. So the last digits of an answer are the
processor's, and a test may only demand what every correct kernel gives.

The bound: rounding to float32 errs by at most u = 2**-24 of a value. The error of a sum of n products is at most
n * u * sum(|a * b|), and exceeds k * sqrt(n) * u * sum(|a * b|) with a probability below 2 * exp(-k**2 / 2) (Higham and
Mary, "A New Approach to Probabilistic Rounding Error Analysis", 2019). k = 6 leaves one in thirty million numbers. Two
kernels err independently of each other, so they differ by up to twice as much; 2 * u is float32's epsilon.

A chain of layers counts as one sum of all their terms: errors of layers are independent and add up like those of terms,
and the norms between layers keep the values at their scale.

A wrong result is far outside of these bounds: a scale of int8 taken over the batch, a mask that is missing or a
position that is off by one changes an answer by a hundredth and more.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np

EPSILON = float(np.finfo(np.float32).eps)

_DEVIATIONS = 6
"""How many deviations of the rounding error are allowed: `k` above."""

Scale = TypeVar("Scale", float, np.ndarray)


def float32(scale: Scale, terms: int = 1) -> Scale:
    """Return the largest difference of two correct float32 results.

    Args:
        scale: the size of the result: of a sum, that of its absolute terms together. An array gives a bound each.
        terms: how many products were added on the way from the input to the result.
    """
    return scale * (_DEVIATIONS * EPSILON * terms**0.5)


ELEMENT = float32(1.0, 4)
"""A function of one number about one (exp, sigmoid, sin, a quotient), up to four roundings: 1.4e-6."""

SUM = float32(1.0, 128)
"""A sum, a mean, a softmax or a resampling of up to 128 terms whose absolute values add up to one: 8.1e-6."""

LAYER = float32(1.0, 512)
"""One layer of a tiny model, of numbers about one: projections, attention and feed-forward of 512 terms: 1.6e-5."""

MODEL = float32(1.0, 4096)
"""A whole tiny model of the zoo, of outputs about one: eight layers or convolutions of 512 terms: 4.6e-5."""

REAL_MODEL = float32(1.0, 32_768)
"""A pretrained model, outputs about one: ResNet-50's fifty layers of some 650 terms, MiniLM's six of 5,000: 1.3e-4."""
