"""The noise of image generation: PyTorch's stream of random numbers, so that a seed gives the image it gives there.

`Generator` draws what `torch.Generator("cpu")` draws (aten/src/ATen/native/cpu/DistributionTemplates.h and
aten/src/ATen/core/DistributionsHelper.h): the words of MT19937, turned into normal numbers by Box and Muller's method,
in blocks of sixteen where a call asks for sixteen numbers or more.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from onnxpipe.errors import UnsupportedError

Noise = NDArray[np.float32]

_BLOCK = 16
_TWO_PI = 2.0 * np.pi
#: torch's seed of a generator that nobody seeded.
_DEFAULT_SEED = 67280421310721
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1


class NoiseSource(Protocol):
    """What draws noise."""

    def normal(self, shape: tuple[int, ...]) -> Noise:
        """Draw standard normal numbers, float32 of this shape."""
        ...


class Generator:
    """PyTorch's generator of random numbers on a CPU, without PyTorch.

        Generator().manual_seed(42)     # draws what torch.Generator("cpu").manual_seed(42) draws

    It goes on from call to call, can be copied and pickled, and must not serve two threads at once.

    Args:
        device: "cpu". CUDA's generators draw other numbers, which cannot be had here.

    Raises:
        UnsupportedError: another device.
    """

    def __init__(self, device: str = "cpu") -> None:
        if str(device).partition(":")[0] != "cpu":
            raise UnsupportedError(
                f"Generator(device={str(device)!r}): only the numbers of PyTorch's CPU generator can be drawn here; "
                'pass "cpu", whatever device the model runs on'
            )
        self.manual_seed(_DEFAULT_SEED)

    def manual_seed(self, seed: int) -> Self:
        """Start the stream anew from a seed of 64 bits, and return the generator.

        Raises:
            TypeError: not an int.
            ValueError: it has more than 64 bits.
        """
        if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)):
            raise TypeError(f"a seed is an int, not {type(seed).__name__}")
        if not _LOWEST <= int(seed) <= _HIGHEST:
            raise UnsupportedError(f"a seed has at most 64 bits, but {seed} has more")
        self._seed = int(seed) % (1 << 64)
        self._words = np.random.RandomState(self._seed & 0xFFFFFFFF)  # as in torch, the upper half is not used
        self._kept: float | None = None
        return self

    def seed(self) -> int:
        """Start the stream anew from a seed that the system draws, and return that."""
        self.manual_seed(secrets.randbits(64))
        return self._seed

    def initial_seed(self) -> int:
        """Tell the seed from which the stream was started, without its sign."""
        return self._seed

    def normal(self, shape: tuple[int, ...]) -> Noise:
        """Draw standard normal numbers, float32 of this shape: `torch.randn(shape, generator=...)`."""
        count = int(np.prod(shape, dtype=np.int64))
        numbers = self._blocks(count) if count >= _BLOCK else self._singles(count)
        return numbers.reshape(shape)

    def __copy__(self) -> Self:
        twin = self._at(*self._place())
        twin._seed = self._seed
        return twin

    @classmethod
    def _at(cls, words: NDArray[np.uint32], place: int, kept: float | None) -> Self:
        """Make a generator that is in the middle of a stream: MT19937's state, and the number kept of a pair."""
        generator = cls()
        generator._words.set_state({"bit_generator": "MT19937", "state": {"key": words, "pos": place}})
        generator._kept = kept
        return generator

    def _place(self) -> tuple[NDArray[np.uint32], int, float | None]:
        """Tell where in the stream the generator is, as `_at` takes it."""
        state = self._words.get_state(legacy=False)["state"]
        return state["key"], int(state["pos"]), self._kept

    def __repr__(self) -> str:
        return f"Generator().manual_seed({self._seed})"

    def _draw(self, count: int) -> NDArray[np.uint32]:
        return self._words.randint(0, 1 << 32, count, np.uint32)

    def _blocks(self, count: int) -> Noise:
        """Draw sixteen or more, in blocks; if sixteen does not divide their number, the last sixteen are drawn anew."""
        numbers = np.empty(count, np.float32)
        even = count - count % _BLOCK
        words = self._draw(count)
        numbers[:even] = _box_muller(words[:even])
        if even != count:
            numbers[-_BLOCK:] = _box_muller(self._draw(_BLOCK))
        return numbers

    def _singles(self, count: int) -> Noise:
        """Draw fewer than sixteen: one by one in float64, of which each pair's second is kept for the next call."""
        numbers: list[float] = []
        while len(numbers) < count:
            if self._kept is not None:
                numbers.append(self._kept)
                self._kept = None
                continue
            high, low = self._draw(4).astype(np.uint64).reshape(2, 2).T
            angle, size = ((high << np.uint64(32) | low) & np.uint64((1 << 53) - 1)) * 2.0**-53
            radius = np.sqrt(-2.0 * np.log1p(-size))
            numbers.append(float(radius * np.cos(_TWO_PI * angle)))
            self._kept = float(radius * np.sin(_TWO_PI * angle))
        return np.array(numbers, np.float32)


def as_generators(seed: Any, count: int) -> list[NoiseSource]:
    """Make the sources of the noise of `count` images.

    Args:
        seed: an int or a generator for all images together (an image then depends on its place and on their number), a
            sequence of one for each image, or None for a seed that the system draws. A generator is a `Generator`,
            NumPy's RandomState or Generator, or PyTorch's on a CPU. All of them move on.
        count: number of images.

    Returns:
        one source, or `count`.

    Raises:
        ValueError: another number of seeds than images.
        TypeError: not a seed or generator.
        UnsupportedError: a generator of PyTorch on another device.
    """
    if not isinstance(seed, Sequence) or isinstance(seed, (str, bytes)):
        return [_source(seed)]
    if len(seed) != count:
        raise ValueError(f"{len(seed)} seeds or generators were passed for {count} images: pass one, or one for each")
    return [_source(one) for one in seed]


def draw(shape: tuple[int, ...], generators: Sequence[NoiseSource]) -> Noise:
    """Draw noise for a batch, float32 of this shape: one generator draws it at once, several draw an image each.

    Raises:
        ValueError: several generators, but not one for each image.
    """
    if len(generators) == 1:
        return generators[0].normal(shape)
    if len(generators) != shape[0]:
        raise ValueError(f"{len(generators)} generators cannot draw a batch of {shape[0]}")
    return np.concatenate([generator.normal((1, *shape[1:])) for generator in generators])


def seeds_of(generators: Iterable[NoiseSource]) -> list[int | None]:
    """Tell the seed of each source, or None for those that are not a `Generator`: they may have been used before."""
    return [source.initial_seed() if isinstance(source, Generator) else None for source in generators]


class _NumpyNoise:
    """A generator of NumPy as a source of noise."""

    def __init__(self, generator: np.random.RandomState | np.random.Generator) -> None:
        self._generator = generator

    def normal(self, shape: tuple[int, ...]) -> Noise:
        return np.asarray(self._generator.standard_normal(shape), np.float32)


class _TorchNoise:
    """A generator of PyTorch as a source of noise: it moves on as if PyTorch had drawn from it."""

    #: The layout of its state: CPUGeneratorImplStateLegacy in aten/src/ATen/CPUGeneratorImpl.cpp.
    _LAYOUT = np.dtype(
        {
            "names": ["left", "next", "words", "kept", "has_kept"],
            "formats": ["<i4", "<u8", ("<u8", 624), "<f8", "<i4"],
            "offsets": [8, 16, 24, 5024, 5040],
            "itemsize": 5056,
        }
    )

    def __init__(self, generator: Any) -> None:
        if str(generator.device) != "cpu":
            raise UnsupportedError(
                f"the generator is on {str(generator.device)!r}: only PyTorch's CPU generators can be followed here"
            )
        self._generator = generator

    def normal(self, shape: tuple[int, ...]) -> Noise:
        tensor = self._generator.get_state()
        state = np.asarray(tensor).view(self._LAYOUT)  # of the tensor's own memory
        kept = float(state["kept"][0]) if state["has_kept"][0] else None
        place = 624 if state["left"][0] == 1 else int(state["next"][0])
        stream = Generator._at(state["words"][0].astype(np.uint32), place, kept)
        noise = stream.normal(shape)
        words, place, kept = stream._place()
        state["words"][0], state["next"], state["left"] = words, place, 625 - place
        state["has_kept"], state["kept"] = kept is not None, kept or 0.0
        self._generator.set_state(tensor)
        return noise


def _source(seed: Any) -> NoiseSource:
    if isinstance(seed, Generator):
        return seed
    if isinstance(seed, (np.random.RandomState, np.random.Generator)):
        return _NumpyNoise(seed)
    if seed is None:
        generator = Generator()
        generator.seed()
        return generator
    if hasattr(seed, "initial_seed") and hasattr(seed, "get_state"):
        return _TorchNoise(seed)
    return Generator().manual_seed(seed)


def _box_muller(words: NDArray[np.uint32]) -> Noise:
    """Turn words, a multiple of sixteen of them, to normal numbers, in float32 as PyTorch does."""
    uniform = (words & np.uint32((1 << 24) - 1)).astype(np.float32) * np.float32(2.0**-24)
    size, angle = uniform.reshape(-1, 2, _BLOCK // 2).swapaxes(0, 1)
    radius = np.sqrt(np.float32(-2.0) * np.log(np.float32(1.0) - size))
    turn = np.float32(_TWO_PI) * angle
    return np.stack((radius * np.cos(turn), radius * np.sin(turn)), axis=1).reshape(-1)
