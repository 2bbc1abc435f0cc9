"""One ONNX graph, ready to run on a device."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

import numpy as np
from numpy.typing import NDArray

from onnxpipe.bundle.external import check_external
from onnxpipe.engine.cuda import PROVIDER as CUDA_PROVIDER
from onnxpipe.engine.cuda import cuda_problem
from onnxpipe.engine.device import CPU_PROVIDER, Device, device_of_provider, provider_list
from onnxpipe.engine.placement import RECORD, Placement, read_placement
from onnxpipe.engine.run_limit import check_run_timeout, limited_run
from onnxpipe.engine.runtime import import_onnxruntime, version_of
from onnxpipe.engine.threads import available_threads
from onnxpipe.errors import BundleError, DeviceError, RunTimeoutError

Array = NDArray[Any]
Provider = tuple[str, dict[str, Any]]

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(bool)": "bool",
    "tensor(string)": "object",
    **{f"tensor({sign}int{bits})": f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)},
}


#: Microseconds that a thread waits for work by spinning, and the first version with that setting.
_SPIN = "10"
_SPIN_LIMITED = (1, 26)

#: Seconds in which a file may change twice and keep the time of its change, with a margin.
_STEP = 0.1

#: The most inputs whose shapes stand in a message: a language model has two more for each of its layers.
_MOST_SHAPES = 6

#: ONNX Runtime's errors that are about the graph.
_FILE_ERRORS = frozenset({"InvalidProtobuf", "InvalidGraph", "NoSuchFile", "NoModel", "NotImplemented"})


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


@dataclass(eq=False)
class Loaded:
    """A graph that ONNX Runtime has loaded.

    Attributes:
        session: ONNX Runtime's session.
        maps: maps of weights, which it may still read from.
    """

    session: Any
    maps: Sequence[mmap.mmap] = ()


#: What is loaded now, by file and settings: pipelines of one bundle in one process have its weights in memory once.
_LOADED: WeakValueDictionary[Hashable, Loaded] = WeakValueDictionary()


class Session:
    """A graph on a device. Opened by `open_session`; may be run from several threads at once.

    Attributes:
        path: the graph's file.
        inputs, outputs: name to `TensorSpec`, in the graph's order.
        device: where it runs.
        providers: ONNX Runtime's execution providers, in the order in which they take nodes.
        run_timeout: the most seconds of one run; None for no limit.
    """

    def __init__(
        self,
        loaded: Loaded,
        path: Path,
        device: Device,
        opened_with: Mapping[str, Any] | None = None,
        run_timeout: float | None = None,
    ) -> None:
        self._loaded = loaded
        self._session = session = loaded.session
        self.run_timeout = run_timeout
        self._opened_with = opened_with
        self.path = path
        self.device = device
        self.providers: tuple[str, ...] = tuple(session.get_providers())
        self.inputs = {node.name: _spec(path, node) for node in session.get_inputs()}
        # Older exporters list the weights as inputs with a default.
        settings = [node for node in session.get_overridable_initializers() if not node.shape]
        self.inputs |= {node.name: replace(_spec(path, node), optional=True) for node in settings}
        self.outputs = {node.name: _spec(path, node) for node in session.get_outputs()}

    def __reduce__(self) -> tuple[Any, ...]:
        """Copy and unpickle by opening the file again, on the same device and with as many threads as were asked for.

        Raises:
            TypeError: the session was not opened from a file, by `open_session`.
        """
        if self._opened_with is None:
            raise TypeError(f"the session of {self.path.name} is in memory only: it cannot be copied or pickled")
        return _reopen, (self.path, dict(self._opened_with))

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
        names = list(self.outputs) if outputs is None else list(outputs)
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
        unknown = [name for name in feeds if name not in self.inputs]
        missing = [name for name, spec in self.inputs.items() if name not in feeds and not spec.optional]
        if unknown or missing:
            faults = [f"no input {name!r}" for name in unknown] + [f"{name!r} must be given" for name in missing]
            raise ValueError(f"{self.path.name}: {', '.join(faults)}; its inputs are {', '.join(self.inputs)}")
        return {name: _fit(self.inputs[name], np.asarray(value)) for name, value in feeds.items()}


def open_session(
    path: Path,
    *,
    root: Path,
    device: Device,
    providers: Sequence[str | Provider] | None = None,
    provider_options: Sequence[dict[str, Any]] | None = None,
    threads: int | None = None,
    run_timeout: float | None = None,
    lean: bool = False,
) -> Session:
    """Load a graph onto a device; one that this process has loaded with the same settings is used again.

    Args:
        path: the .onnx file.
        root: the model's folder; nothing outside it is read.
        device: the device to run on; see `parse_device`.
        providers: ONNX Runtime's execution providers instead of the device's, as names or (name, options); with
            `provider_options` the names and options can be passed separately.
        threads: threads of one operator; None for what the container grants (`available_threads`).
        run_timeout: the most seconds of one run of the graph; None for no limit. Loading it is not bounded, and neither
            is an operator that has begun.
        lean: keep no second copy of the weights on a CPU: neither packed for its kernels, nor as float32 where they are
            float16; those in a file of their own are read there. A run then takes longer.

    Raises:
        BundleError: the file is damaged, hostile, or not a graph that ONNX Runtime can load.
        DeviceError: a provider is not available, or ONNX Runtime did not start it.
    """
    opened_with = {
        "root": root, "device": device, "providers": providers, "provider_options": provider_options,
        "threads": threads, "run_timeout": run_timeout, "lean": lean,
    }  # fmt: skip
    run_timeout = check_run_timeout(run_timeout)
    runtime = import_onnxruntime()
    chosen: list[Provider] = list(provider_list(device))
    if providers is not None:
        chosen = _normal(providers, provider_options)
        device = device_of_provider(*chosen[0])
    elif provider_options is not None:
        raise ValueError("provider_options needs providers")
    _check_available(runtime, chosen)
    data = check_external(path, root)
    threads = available_threads() if threads is None else threads
    if isinstance(threads, bool) or not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads={threads!r}: pass a whole number, at least 1")
    lean = lean and [name for name, _ in chosen] == [CPU_PROVIDER]
    key = os.getpid(), _identity(path, data), repr(chosen), threads, lean  # a fork has none of its parent's threads
    loaded = _LOADED.get(key)
    if loaded is None:
        options = _options(runtime, threads)
        if lean:
            _keep_lean(runtime, options)
        loaded = _load(runtime, path, data, options, chosen)
        _check_taken(loaded.session, chosen)
        if _is_settled(path, *data.values()):
            _LOADED[key] = loaded
    return Session(loaded, path, device, opened_with, run_timeout)


def _is_settled(*files: Path) -> bool:
    """Whether files are older than the steps in which their system counts time: a new one may be written once more in
    the same step, and look the same."""
    return max(file.stat().st_mtime for file in files) < time.time() - _STEP


def _identity(path: Path, data: Mapping[str, Path]) -> Hashable:
    """Make what tells the files of a graph, as they are now, from any others."""
    found = [file.stat() for file in (path, *data.values())]
    return str(path), tuple((file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns) for file in found)


def _reopen(path: Path, opened_with: Mapping[str, Any]) -> Session:
    return open_session(path, **opened_with)


def _normal(providers: Sequence[str | Provider], options: Sequence[dict[str, Any]] | None) -> list[Provider]:
    if not providers:
        raise ValueError("providers is empty: leave it out, or name one")
    if options is not None and len(options) != len(providers):
        raise ValueError(f"{len(providers)} providers and {len(options)} provider_options: pass one for each")
    normal: list[Provider] = []
    for i, provider in enumerate(providers):
        name, own = (provider, {}) if isinstance(provider, str) else provider
        normal.append((name, {**own, **(options[i] if options is not None else {})}))
    return normal


def _check_available(runtime: ModuleType, providers: Sequence[Provider]) -> None:
    available = runtime.get_available_providers()
    for name, _ in providers:
        if name not in available:
            raise DeviceError(f"the provider {name} is not available; this ONNX Runtime has {', '.join(available)}")
        problem = cuda_problem() if name == CUDA_PROVIDER else None
        if problem is not None:
            raise DeviceError(f"the provider {name} is not usable here: {problem}")


def _check_taken(session: Any, providers: Sequence[Provider]) -> None:
    """Refuse a provider that failed to start: ONNX Runtime continues without it, silently, on another device."""
    taken = session.get_providers()
    lost = [name for name, _ in providers if name not in taken]
    if lost:
        raise DeviceError(
            f"ONNX Runtime could not start {', '.join(lost)} and would have run on {', '.join(taken)}: "
            "see what it printed above for the reason"
        )


def _options(runtime: ModuleType, threads: int) -> Any:
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # fatal errors only; others are raised, and would be printed as well
    # Spinning threads burn a core each while they wait for work that, in a server, may come in seconds. For as long as
    # the gap between two operators of one run it pays: a step of a llama of 135M parameters in int8 takes 9 ms instead
    # of 11.6 on idle cores, and at most a few percent longer on busy ones (with 1 ms instead of 10 us up to a half). 50
    # us were 4 to 30 % faster on an EPYC; on a Xeon a call that follows a pause took 15 % longer with them.
    spins = version_of(runtime) >= _SPIN_LIMITED
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    if spins:
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN)
        options.add_session_config_entry("session.force_spinning_stop", "1")  # never after the end of a run
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.add_session_config_entry(RECORD, "1")  # versions that do not know the key ignore it
    return options


def _keep_lean(runtime: ModuleType, options: Any) -> None:
    """Let a session leave its weights as they are; see `open_session`."""
    options.add_session_config_entry("session.disable_prepacking", "1")
    options.add_session_config_entry("optimization.disable_specified_optimizers", "ConstantFolding")
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED  # convolutions' layout stays
    options.enable_cpu_mem_arena = False


def _load(
    runtime: ModuleType, path: Path, data: Mapping[str, Path], options: Any, providers: Sequence[Provider]
) -> Loaded:

    def make() -> Any:
        # Without enable_fallback=0 a provider that fails is replaced by the CPU, here and in the middle of a run.
        return runtime.InferenceSession(_native(path), options, providers=list(providers), enable_fallback=0)

    try:
        return Loaded(make())
    except Exception as error:
        linked = any(file.is_symlink() for file in data.values())
        if not linked or not hasattr(options, "add_external_initializers_from_files_in_memory"):
            raise _load_error(runtime, path, providers, error) from error
    # Some versions (1.24) refuse weights behind links, and the Hub's cache is made of links. `check_external` has
    # checked their targets, so the files' bytes are passed instead of their names.
    maps = {name: _map(file) for name, file in data.items()}
    sizes = [len(content) for content in maps.values()]
    options.add_external_initializers_from_files_in_memory(list(maps), list(maps.values()), sizes)
    try:
        return Loaded(make(), list(maps.values()))
    except Exception as error:
        raise _load_error(runtime, path, providers, error) from error


@dataclass(frozen=True)
class _Encoded:
    """A path whose name is bytes."""

    name: bytes

    def __fspath__(self) -> bytes:
        return self.name


def _native(path: Path) -> str | _Encoded:
    """Pass a path as ONNX Runtime takes it: as a str, or, where its bytes are not UTF-8, as they are."""
    try:
        str(path).encode()
    except UnicodeEncodeError:
        return _Encoded(os.fsencode(path))
    return str(path)


def _load_error(
    runtime: ModuleType, path: Path, providers: Sequence[Provider], error: Exception
) -> BundleError | DeviceError:
    """Make the error of a failed load: the device's if it is not the CPU and ONNX Runtime does not blame the file."""
    names = [name for name, _ in providers]
    blames_file = type(error).__name__ in _FILE_ERRORS or "Load model from" in str(error)
    if blames_file or names == [CPU_PROVIDER]:
        return BundleError(f"{path} could not be loaded by ONNX Runtime {runtime.__version__}: {error}")
    return DeviceError(f"{path} could not be loaded onto {', '.join(names)}: {error}")


def _map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _spec(path: Path, node: Any) -> TensorSpec:
    dtype = _DTYPES.get(node.type)
    if dtype is None:
        raise BundleError(f"{path}: {node.name!r} is a {node.type}, which numpy does not have")
    return TensorSpec(node.name, np.dtype(dtype), tuple(node.shape))


def _fit(spec: TensorSpec, array: Array) -> Array:
    axes = zip(spec.shape, array.shape, strict=False)
    if len(spec.shape) != array.ndim or any(isinstance(want, int) and want != got for want, got in axes):
        raise ValueError(f"{spec.name!r} has the shape {array.shape}; the graph takes {spec.shape}")
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
