"""One ONNX graph, ready to run on a device."""

from __future__ import annotations

import mmap
import threading
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpipe.engine.device import Device
from onnxpipe.engine.placement import Placement, read_placement
from onnxpipe.engine.run_limit import limited_run
from onnxpipe.errors import BundleError, OnnxPipeError, RunTimeoutError

Array = NDArray[Any]

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


#: The most inputs whose shapes stand in a message: a language model has two more for each of its layers.
_MOST_SHAPES = 6


@dataclass(frozen=True)
class TensorSpec:
    """An input or output of a graph.

    Attributes:
        name: its name.
        dtype: its numpy type.
        shape: one entry per axis: an int where it is fixed, a name or None where it is free.
        optional: whether it is an input with a default.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int | str | None, ...]
    optional: bool = False

    @cached_property
    def fixed(self) -> tuple[tuple[int, int], ...]:
        """The axes whose sizes are fixed, with these."""
        return tuple((axis, size) for axis, size in enumerate(self.shape) if isinstance(size, int))


@dataclass(eq=False)
class Loaded:
    """A graph that ONNX Runtime has loaded.

    Attributes:
        session: ONNX Runtime's session.
        maps: maps of weights, which it may still read from.
        file: what tells its files, as they were, from any others.
    """

    session: Any
    maps: Sequence[mmap.mmap] = ()
    file: Hashable = None


class Session:
    """A graph on a device. Opened by `open_session`; may be run from several threads at once.

    Attributes:
        path: the graph's file.
        inputs, outputs: name to `TensorSpec`, in the graph's order.
        device: where it runs.
        providers: ONNX Runtime's execution providers, in the order in which they take nodes.
        run_timeout: the most seconds of one run; None for no limit.
        beside: how many runs of one thread take less time side by side than one after the other with all threads; 1
            where none do.
        threads: threads of an operator.
    """

    def __init__(
        self,
        loaded: Loaded,
        path: Path,
        device: Device,
        again: Callable[..., Session] | None = None,
        run_timeout: float | None = None,
        beside: int = 1,
        threads: int = 1,
    ) -> None:
        self.beside, self.threads = beside, threads
        self._narrow: Session | None = None
        self._opening = threading.Lock()
        self._loaded = loaded
        self._session = session = loaded.session
        self.run_timeout = run_timeout
        self._again = again
        self.path = path
        self.device = device
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.inputs = {node.name: _spec(path, node) for node in session.get_inputs()}
        # Older exporters list the weights as inputs with a default.
        settings = [node for node in session.get_overridable_initializers() if not node.shape]
        self.inputs |= {node.name: replace(_spec(path, node), optional=True) for node in settings}
        self._required = {name for name, spec in self.inputs.items() if not spec.optional}
        self.outputs = {node.name: _spec(path, node) for node in session.get_outputs()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and unpickle by opening the file again, on the same device and with as many threads as were asked for.

        Raises:
            TypeError: the session was not opened from a file, by `open_session`.
        """
        if self._again is None:
            raise TypeError(f"the session of {self.path.name} is in memory only: it cannot be copied or pickled")
        return self._again, ()

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Run the graph.

        Args:
            feeds: an array for every input that has no default. Integers, booleans and floats are cast to the graph's
                type; floats are never cast to integers.
            outputs: names of those wanted; None for all.

        Returns:
            Name to array. float16 comes back as float32, in which all further arithmetic is done.

        Raises:
            ValueError: a feed is missing, unknown, of a wrong shape, or cannot be cast; an output is unknown.
            RuntimeError: ONNX Runtime failed, e.g. on a token number that the model does not have.
            RunTimeoutError: it took longer than `run_timeout`. The session can be used again.
        """
        names = list(self.outputs if outputs is None else outputs)
        if outputs is not None:
            for name in names:
                if name not in self.outputs:
                    raise ValueError(f"{self.path.name} has no output {name!r}; it has {', '.join(self.outputs)}")
        cast = self._cast(feeds)
        with limited_run(self.run_timeout) as limit:
            try:
                values = self._session.run(names, cast, limit)
            except Exception as error:  # ONNX Runtime's own errors have no base class besides Exception
                raise self._failed(cast, error, limit) from error
        return {name: _full(value) for name, value in zip(names, values, strict=True)}

    def narrow(self) -> Session:
        """Return the same graph with one thread for each run, opened when it is first asked for; this session where its
        file is not there any more, or has changed."""
        with self._opening:
            if self._narrow is None:
                self._narrow = self._open_narrow() or self
            return self._narrow

    def _open_narrow(self) -> Session | None:
        if self._again is None:
            return None
        try:
            found = self._again(threads=1)
        except (OnnxPipeError, OSError):
            return None
        return found if found._loaded.file == self._loaded.file else None

    @property
    def raw(self) -> Any:
        """ONNX Runtime's own session."""
        return self._session

    def fit(self, name: str, value: Array) -> Array:
        """Cast `value` to the type of the input `name`; see `run` for the rules."""
        if name not in self.inputs:
            raise ValueError(f"{self.path.name}: no input {name!r}; its inputs are {', '.join(self.inputs)}")
        return _fit(self.inputs[name], np.asarray(value))

    def run_bound(self, binding: Any, feeds: Mapping[str, Any]) -> None:
        """Run with a binding; `feeds` are for the shapes in the message if it fails (errors as those of `run`)."""
        with limited_run(self.run_timeout) as limit:
            try:
                self._session.run_with_iobinding(binding, limit)
            except Exception as error:
                raise self._failed(feeds, error, limit) from error

    def _failed(self, feeds: Mapping[str, Any], error: Exception, limit: Any) -> RuntimeError | RunTimeoutError:
        shapes = ", ".join(f"{name} {tuple(array.shape)}" for name, array in islice(feeds.items(), _MOST_SHAPES))
        if len(feeds) > _MOST_SHAPES:
            shapes += f" and {len(feeds) - _MOST_SHAPES} more"
        if limit is not None and limit.terminate:
            return RunTimeoutError(
                f"{self.path.name} took longer than run_timeout={self.run_timeout:g} seconds and was stopped. If that "
                "is too short for it, load it with a larger run_timeout (--run-timeout on the command line). Its "
                f"inputs had the shapes {shapes}"
            )
        return RuntimeError(f"{self.path.name} failed on inputs of the shapes {shapes}: {error}")

    def placement(self) -> Placement:
        """Read which execution provider runs each node of the optimised graph.

        Raises:
            UnsupportedError: this version of ONNX Runtime does not record it.
        """
        return read_placement(self._session)

    def _cast(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        inputs = self.inputs
        if not self._required <= feeds.keys() <= inputs.keys():
            faults = [f"no input {name!r}" for name in feeds if name not in inputs]
            faults += [f"{name!r} must be given" for name in inputs if name in self._required and name not in feeds]
            raise ValueError(f"{self.path.name}: {', '.join(faults)}; its inputs are {', '.join(inputs)}")
        return {name: _fit(inputs[name], np.asarray(value)) for name, value in feeds.items()}


def _spec(path: Path, node: Any) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise BundleError(f"{path}: {node.name!r} is a {node.type}, which numpy does not have")
    return TensorSpec(node.name, np.dtype(dtype), tuple(node.shape))


def _fit(spec: TensorSpec, array: Array) -> Array:
    shape = array.shape
    if len(spec.shape) != len(shape) or any(shape[axis] != size for axis, size in spec.fixed):
        raise ValueError(f"{spec.name!r} has the shape {shape}; the graph takes {spec.shape}")
    if array.dtype == spec.dtype or spec.dtype.kind == "O":
        return array
    known = array.dtype.kind in "biuf" and spec.dtype.kind in "biuf"
    if not known or (array.dtype.kind == "f" and spec.dtype.kind != "f"):
        raise ValueError(f"{spec.name!r} is {array.dtype}; the graph takes {spec.dtype}")
    return array.astype(spec.dtype)


def _full(value: Any) -> Array:
    """Convert ONNX Runtime's output to an array, float16 to float32."""
    array = np.asarray(value)
    return array.astype(np.float32) if array.dtype == np.float16 else array
