"""Write a module as an ONNX graph, by tracing.

`torch.onnx.export(dynamo=False)` follows one run of the module. It is the way that reproduced most models (and in
seconds, not minutes); what it may get wrong (a branch taken, a size frozen) is caught by the certificate.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxpipe.errors import ExportError
from onnxpipe_export import refusals, stored_weights
from onnxpipe_export.onnx_graph import SINGLE_FILE_LIMIT, remove_graph
from onnxpipe_export.traceable import traceable_operations

_LARGE = 100_000_000
"""Bytes of weights above which torch traces without them: a llama of 135M parameters in 8.4 s instead of 11.7, and with
2.3 GB of memory instead of 3.1."""
OPSET = 18
"""The lowest opset with every operator used here, so that older versions of ONNX Runtime and other runtimes load it."""


def trace(
    module: Any,
    example: Mapping[str, Any],
    outputs: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
    path: Path,
) -> None:
    """Write `module`, called with the tensors of `example` in order, as an ONNX file.

    Raises:
        ExportError: an operation has no form in ONNX.

    Args:
        module: a torch module that returns a tuple of tensors, one per name in `outputs`; see `flat`.
        example: input name -> tensor; padded, so that no mask can be taken for a constant.
        outputs: names of the outputs.
        dynamic_axes: name -> {axis: symbol} of every size that may change.
        path: the file to write. Large weights are written to a file beside it, without the copies in memory that torch
            would make; those of less than 2 GB only if nothing has to be computed from weights alone.
    """
    parameters = stored_weights.parameters(module)
    size = sum(tensor.nbytes for tensor in parameters.values())
    if size > min(_LARGE, SINGLE_FILE_LIMIT):
        _export(module, example, outputs, dynamic_axes, path, whole=False)
        stored_weights.add(path, parameters)
        if size > SINGLE_FILE_LIMIT or not stored_weights.computes_weights(path):
            return
        remove_graph(path)
    _export(module, example, outputs, dynamic_axes, path, whole=True)


def _export(
    module: Any,
    example: Mapping[str, Any],
    outputs: Sequence[str],
    dynamic_axes: Mapping[str, Mapping[int, str]],
    path: Path,
    *,
    whole: bool,
) -> None:
    """Let torch write the graph; `whole`: with its weights, and what is computed from them alone computed once."""
    import torch

    try:
        with quiet(), _silent_output(), _ordered_sets(), traceable_operations(), torch.no_grad():
            torch.onnx.export(
                module,
                tuple(example.values()),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes={name: dict(axes) for name, axes in dynamic_axes.items()},
                export_params=whole,
                do_constant_folding=whole,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(
            f"the model has an operation that cannot be written as ONNX: {reason}. {refusals.ELSE}"
        ) from error


def flat(
    model: Any, run: Callable[[Mapping[str, Any]], Mapping[str, Any]], inputs: Sequence[str], outputs: Sequence[str]
) -> Any:
    """Make the module that `trace` takes from a function of named tensors.

    Args:
        model: the torch module whose weights `run` uses.
        run: input name -> tensor to output name -> tensor.
        inputs: names of the module's arguments, in order.
        outputs: names of what it returns, in order.
    """
    import torch

    class Flat(torch.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, *tensors: Any) -> tuple[Any, ...]:
            answer = run(dict(zip(inputs, tensors, strict=True)))
            return tuple(answer[name] for name in outputs)

    return Flat().eval()


class _OrderedSet(set[Any]):
    """A set that lists its members in the order of their texts, in every process."""

    def __iter__(self) -> Iterator[Any]:
        return iter(sorted(super().__iter__(), key=str))


@contextlib.contextmanager
def _ordered_sets() -> Iterator[None]:
    """Let the models of transformers make ordered sets inside, so that a model is traced to the same file each time.

    ModernBERT and others compute the angles of `set(config.layer_types)` one kind after the other, and the order of a
    set of strings is another in each process.
    """
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("transformers.models.") and ".modeling_" in name:
                stack.enter_context(replaced(module, "set", _OrderedSet))
        yield


@contextlib.contextmanager
def _silent_output() -> Iterator[None]:
    """Silence the standard output inside: where an operator is unknown torch prints the whole graph, from C++.

    Not in a process of several threads, where what another one writes meanwhile would be lost.
    """
    others = [thread for thread in threading.enumerate() if type(thread).__name__ != "TMonitor"]  # tqdm's own
    try:
        kept = os.dup(1) if sys.stdout is not None and len(others) == 1 else None
    except OSError:  # there is none
        kept = None
    if kept is None:
        yield
        return
    sys.stdout.flush()
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings and log lines inside, and the progress bars of transformers if it is loaded.

    Levels of loggers stay as they are: each change costs a millisecond, as every logger forgets what it knows of them.
    """
    with (
        warnings.catch_warnings(),
        contextlib.redirect_stderr(io.StringIO()),
        replaced(logging.Logger, "handle", _handle_critical),
        _no_progress_bars(),
    ):
        warnings.simplefilter("ignore")
        yield


_handle = logging.Logger.handle


def _handle_critical(logger: logging.Logger, record: logging.LogRecord) -> None:
    if record.levelno > logging.ERROR:
        _handle(logger, record)


@contextlib.contextmanager
def _no_progress_bars() -> Iterator[None]:
    if "transformers" not in sys.modules:  # a graph is rewritten without it
        yield
        return
    from transformers.utils import logging as transformers_logging

    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if bars:
            transformers_logging.enable_progress_bar()


@contextlib.contextmanager
def replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Set `owner.name` to `value` inside; afterwards an attribute that was not there is removed, another put back."""
    own = name in vars(owner)
    before = vars(owner).get(name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        if own:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
