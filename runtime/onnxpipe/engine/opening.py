"""Open graphs on devices: check the file, choose providers and settings, load it once for equal settings."""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any
from weakref import WeakValueDictionary

from onnxpipe.bundle.external import check_external
from onnxpipe.bundle.graph_reader import graph_inputs
from onnxpipe.engine.cuda import PROVIDER as CUDA_PROVIDER
from onnxpipe.engine.cuda import cuda_problem
from onnxpipe.engine.device import CPU_PROVIDER, Device, device_of_provider, provider_list
from onnxpipe.engine.large_pages import in_large_pages
from onnxpipe.engine.placement import RECORD
from onnxpipe.engine.plugins import providing
from onnxpipe.engine.run_limit import check_run_timeout
from onnxpipe.engine.runtime import import_onnxruntime, version_of
from onnxpipe.engine.session import Loaded, Session
from onnxpipe.engine.threads import available_threads
from onnxpipe.errors import BundleError, DeviceError

Provider = tuple[str, dict[str, Any]]

#: Microseconds that a thread waits for work by spinning, those of a graph that runs step by step, and the first version
#: with that setting.
_SPIN, _SPIN_OF_STEPS = "10", "50"
_SPIN_LIMITED = (1, 26)

#: Bytes of a graph whose nodes are so small that each waits longer for several threads than it gains; it is in memory
#: twice where runs of one thread go side by side.
_SMALL = 50_000_000

#: Seconds in which a file may change twice and keep the time of its change, with a margin.
_STEP = 0.1

#: ONNX Runtime's errors that are about the graph.
_FILE_ERRORS = frozenset({"InvalidProtobuf", "InvalidGraph", "NoSuchFile", "NoModel", "NotImplemented"})


#: What is loaded now, by file and settings: pipelines of one bundle in one process have its weights in memory once.
_LOADED: WeakValueDictionary[Hashable, Loaded] = WeakValueDictionary()


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
        providers: ONNX Runtime's execution providers, or those of installed plug-ins, instead of the device's, as names
            or (name, options); with `provider_options` the names and options can be passed separately. The option
            `device_id` chooses among the devices of a plug-in.
        threads: threads of one operator; None for what the container grants (`available_threads`).
        run_timeout: the most seconds of one run of the graph; None for no limit. Loading it is not bounded, and neither
            is an operator that has begun.
        lean: keep no second copy of the weights on a CPU: neither packed for its kernels, nor as float32 where they are
            float16; those in a file of their own are read there. A run then takes longer.

    Raises:
        BundleError: the file is damaged, hostile, or not a graph that ONNX Runtime can load.
        DeviceError: a provider is not available, or ONNX Runtime did not start it.
    """
    again = partial(
        open_session, path, root=root, device=device, providers=providers, provider_options=provider_options,
        threads=threads, run_timeout=run_timeout, lean=lean,
    )  # fmt: skip
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
    identity = _identity(path, data)
    key = os.getpid(), identity, repr(chosen), threads, lean  # a fork has none of its parent's threads
    loaded = _LOADED.get(key)
    if loaded is None:
        stepwise = _keeps_caches(path)
        options = session_options(runtime, threads, stepwise=stepwise)
        if lean:
            _keep_lean(runtime, options)
        plugins = _take_plugins(runtime, options, chosen)
        with in_large_pages(stepwise and not lean and [name for name, _ in chosen] == [CPU_PROVIDER]):
            loaded = _load(runtime, path, data, options, chosen, plugins)
        _check_taken(loaded.session, chosen)
        loaded.file = identity
        if _is_settled(path, *data.values()):
            _LOADED[key] = loaded
    small = sum(file.stat().st_size for file in (path, *data.values())) <= _SMALL
    beside = threads if small and not lean and [name for name, _ in chosen] == [CPU_PROVIDER] else 1
    return Session(loaded, path, device, again, run_timeout, beside, threads)


def _is_settled(*files: Path) -> bool:
    """Whether files are older than the steps in which their system counts time: a new one may be written once more in
    the same step, and look the same."""
    return max(file.stat().st_mtime for file in files) < time.time() - _STEP


def _identity(path: Path, data: Mapping[str, Path]) -> Hashable:
    """Make what tells the files of a graph, as they are now, from any others."""
    found = [file.stat() for file in (path, *data.values())]
    return str(path), tuple((file.st_dev, file.st_ino, file.st_size, file.st_mtime_ns) for file in found)


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
        if name not in available and providing(name) is None:
            raise DeviceError(
                f"the provider {name} is not available; this ONNX Runtime has {', '.join(available)}. Others are in "
                "packages of their own: pip install onnxruntime-ep-openvino"
            )
        problem = cuda_problem() if name == CUDA_PROVIDER else None
        if problem is not None:
            raise DeviceError(f"the provider {name} is not usable here: {problem}")


def _take_plugins(runtime: ModuleType, options: Any, providers: Sequence[Provider]) -> bool:
    """Set the providers in the options of a session, where any of them is a plug-in's; tell whether one is.

    Raises:
        DeviceError: a plug-in has no such device here, or does not take the options.
    """
    available = runtime.get_available_providers()
    plugins = {name: providing(name) for name, _ in providers if name not in available}
    if not any(plugins.values()):
        return False
    for name, own in providers:
        plugin = plugins.get(name)
        if plugin is not None:
            rest = {key: str(value) for key, value in own.items() if key != "device_id"}
            device = plugin.device(int(own.get("device_id", 0)))
            try:
                options.add_provider_for_devices([device], rest)
            except Exception as error:
                raise DeviceError(f"{name} does not start with {rest}: {error}") from error
        elif name != CPU_PROVIDER:  # which runs what the others leave, anyway
            options.add_provider(name, {key: str(value) for key, value in own.items()})
    return True


def _check_taken(session: Any, providers: Sequence[Provider]) -> None:
    """Refuse a provider that failed to start: ONNX Runtime continues without it, silently, on another device."""
    taken = session.get_providers()
    lost = [name for name, _ in providers if name not in taken]
    if lost:
        raise DeviceError(
            f"ONNX Runtime could not start {', '.join(lost)} and would have run on {', '.join(taken)}: "
            "see what it printed above for the reason"
        )


def _keeps_caches(path: Path) -> bool:
    """Whether a graph takes what an earlier run of it has given, as decoders do, and so runs many times in a row."""
    return any("past" in name and "." in name for name in graph_inputs(path))


def session_options(runtime: ModuleType, threads: int, *, stepwise: bool) -> Any:
    """Make the options of a session; `stepwise` for a graph that runs many times in a row."""
    options = runtime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4  # fatal errors only; others are raised, and would be printed as well
    # Spinning threads burn a core each while they wait for work that, in a server, may come in seconds. For as long as
    # the gap between two operators of one run it pays: a step of a llama of 135M parameters in int8 takes 9 ms instead
    # of 11.6 on idle cores. How long is a trade: on an EPYC a step of it with 50 us instead of 10 took 0 to 17 % less
    # in int8 and 0 to 23 % in q4, by what else the host did, and beside a busy process 7 % less or 28 % more; with 200
    # us or 1 ms no less than with 50, and on busy cores up to two thirds more. An encoder's call that follows a pause
    # took 15 % longer with 50 us on a Xeon; on an EPYC 0 to 8 % less, with 200 us or spinning on after the call no less
    # than that, and beside busy processes 5 % to twice as long.
    spins = version_of(runtime) >= _SPIN_LIMITED
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spins else "0")
    if spins:
        options.add_session_config_entry("session.intra_op.spin_duration_us", _SPIN_OF_STEPS if stepwise else _SPIN)
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
    runtime: ModuleType,
    path: Path,
    data: Mapping[str, Path],
    options: Any,
    providers: Sequence[Provider],
    in_options: bool,
) -> Loaded:
    """Load a graph; `in_options` tells that the options name the providers already."""
    named = None if in_options else list(providers)

    def make() -> Any:
        # Without enable_fallback=0 a provider that fails is replaced by the CPU, here and in the middle of a run.
        return runtime.InferenceSession(_native(path), options, providers=named, enable_fallback=0)

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
