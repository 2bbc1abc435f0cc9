"""Every error a user of onnxpipe can meet.

    OnnxPipeError
    ├── ModelNotFoundError      (OSError)      no such folder, Hub repo, revision or file
    ├── NotExportedError        (OSError)      the model has weights but no ONNX graph; the message gives the command
    ├── BundleError             (ValueError)   a folder that is damaged, hostile, or of an unknown format
    │   └── ChatTemplateError   (TypeError)    a chat template that does not go with the conversation's form
    ├── PrecisionError          (ValueError)   the model has no graph of the requested precision
    ├── ExportError             (RuntimeError) a model that could not be exported
    │   └── CertificateError                   the graph does not answer as the original does; nothing was written
    ├── DeviceError             (RuntimeError) the requested device or provider is not usable here
    ├── RunTimeoutError         (TimeoutError) one run of a graph took longer than `run_timeout` allows
    ├── OverloadedError         (RuntimeError) a queue that several callers share is full, or closed
    ├── CallTimeoutError        (TimeoutError) the answer to a call on such a queue was not there by its deadline
    ├── CallCancelledError      (RuntimeError) a call on such a queue was given up before its answer was there
    ├── MissingDependencyError  (ImportError)  an optional package is needed; the message gives the line to install it
    ├── ImageError              (ValueError)   an image or a video that cannot be read or fetched, or is too large
    │   └── ImageNotFoundError  (FileNotFoundError)  no such image or video file
    ├── AudioError              (ValueError)   a recording that cannot be read or fetched, or is too long
    │   └── AudioNotFoundError  (FileNotFoundError)  no such audio file
    ├── TextTooLongError        (ValueError)   a text that leaves no room for what has to stand beside it
    │   └── RowTooLongError     (RuntimeError) a row of more tokens than the model has positions for
    ├── UnfinishedAnswerError   (ValueError)   an answer that was cut off before it had the form of response_format
    ├── UnsupportedError        (ValueError)   an argument or a model that is not supported here
    │   └── UnknownChoiceError  (KeyError)     a name that is none of those an argument takes
    ├── UnknownArgumentError    (TypeError)    a misspelt or unknown argument; the message names the nearest known one
    └── PipelineException                      an input the task cannot answer (transformers' own name)

Each error is also the built-in type that `transformers` raises in the same place, so `except ValueError` keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class OnnxPipeError(Exception):
    """Base of every error that onnxpipe raises on purpose."""


class ModelNotFoundError(OnnxPipeError, OSError):
    """No such folder, Hub repository, revision or file."""


class NotExportedError(OnnxPipeError, OSError):
    """The model holds weights but no ONNX graph."""


class BundleError(OnnxPipeError, ValueError):
    """A model folder that is damaged, hostile, or of an unknown format."""


class ChatTemplateError(BundleError, TypeError):
    """A chat template that treats a value of the conversation as if it were of another type."""


class PrecisionError(OnnxPipeError, ValueError):
    """The model has no graph of the requested precision."""


class ExportError(OnnxPipeError, RuntimeError):
    """A model that could not be exported."""


class CertificateError(ExportError):
    """The exported graph does not answer as the original does. Nothing was written."""


class DeviceError(OnnxPipeError, RuntimeError):
    """The requested device or execution provider is not usable here."""


class RunTimeoutError(OnnxPipeError, TimeoutError):
    """One run of a graph took longer than `run_timeout` allows, and was stopped."""


class OverloadedError(OnnxPipeError, RuntimeError):
    """A queue that several callers share is full, or closed."""


class CallTimeoutError(OnnxPipeError, TimeoutError):
    """The answer to a call on a shared queue was not there by its deadline."""


class CallCancelledError(OnnxPipeError, RuntimeError):
    """A call on a shared queue was given up before its answer was there."""


class MissingDependencyError(OnnxPipeError, ImportError):
    """An optional package is needed."""


class ImageError(OnnxPipeError, ValueError):
    """An image or a video that cannot be read or fetched, is too large, or is of a format that is not known."""


class ImageNotFoundError(ImageError, FileNotFoundError):
    """No such image or video file."""


class AudioError(OnnxPipeError, ValueError):
    """A recording that cannot be read or fetched, is too long, or is of a format that is not known."""


class AudioNotFoundError(AudioError, FileNotFoundError):
    """No such audio file."""


class TextTooLongError(OnnxPipeError, ValueError):
    """A text that leaves no room for what has to stand beside it, as a question for its context."""


class RowTooLongError(TextTooLongError, RuntimeError):
    """A row of more tokens than the model has positions for."""


class UnfinishedAnswerError(OnnxPipeError, ValueError):
    """An answer that was cut off before it had the form that `response_format` asks for."""


class UnsupportedError(OnnxPipeError, ValueError):
    """An argument or a model that this runtime does not support."""


class UnknownChoiceError(UnsupportedError, KeyError):
    """A name that is none of those that an argument takes."""

    __str__ = Exception.__str__  # KeyError shows the repr of its message


class UnknownArgumentError(OnnxPipeError, TypeError):
    """A misspelt or unknown argument."""

    @classmethod
    def among(cls, where: str, name: str, known: Iterable[str]) -> UnknownArgumentError:
        """Make the error for argument `name` of `where`, with the nearest of the `known` names."""
        known = sorted(known)
        near = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean '{near[0]}'?" if near else f"known: {', '.join(known) or 'none'}"
        return cls(f"{where} got an unexpected keyword argument '{name}'; {hint}")


class PipelineException(OnnxPipeError):  # the name is transformers'
    """An input that the task cannot answer.

    Args:
        task: the task's name.
        model: the model's name or path.
        reason: what is wrong with the input.
    """

    def __init__(self, task: str, model: str, reason: str) -> None:
        super().__init__(reason)
        self.task = task
        self.model = model
