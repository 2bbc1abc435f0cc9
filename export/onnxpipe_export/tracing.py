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
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from onnxpipe.errors import ExportError

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
        module: a torch module that returns a tuple of tensors, one per name in `outputs`.
        example: input name -> tensor; padded, so that no mask can be taken for a constant.
        outputs: names of the outputs.
        dynamic_axes: name -> {axis: symbol} of every size that may change.
        path: the file to write. A model over 2 GB gets files beside it.
    """
    import torch

    try:
        with quiet(), _silent_output(), torch.no_grad():
            torch.onnx.export(
                module,
                tuple(example.values()),
                str(path),
                dynamo=False,
                opset_version=OPSET,
                input_names=list(example),
                output_names=list(outputs),
                dynamic_axes={name: dict(axes) for name, axes in dynamic_axes.items()},
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error).strip().partition("\n")[0]
        raise ExportError(f"the model has an operation that cannot be written as ONNX: {reason}") from error


@contextlib.contextmanager
def _silent_output() -> Iterator[None]:
    """Silence the standard output inside: where an operator is unknown torch prints the whole graph, from C++."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 1)
    try:
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence the warnings, progress bars and log lines of torch and transformers inside."""
    from transformers.utils import logging as transformers_logging

    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    disabled = logging.root.manager.disable
    transformers_logging.set_verbosity(logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers_logging.set_verbosity(verbosity)
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
