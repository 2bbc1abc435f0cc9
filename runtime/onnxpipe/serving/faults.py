"""What goes wrong with a request: a status and a message; of a server's own fault only an id, which its log has too."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

from onnxpipe.errors import (
    AudioError,
    CallCancelledError,
    CallTimeoutError,
    ChatTemplateError,
    ImageError,
    MissingDependencyError,
    OnnxPipeError,
    OverloadedError,
    PipelineException,
    RunTimeoutError,
    TextTooLongError,
    UnfinishedAnswerError,
    UnknownArgumentError,
    UnsupportedError,
)

logger = logging.getLogger("onnxpipe.serving")

#: Errors about an input or a parameter, which are answered with 400. A check that happens only while the model runs (of
#: a forbidden token, of a voice) raises one of these; any other error of a run is answered with 500.
_CLIENTS = (
    UnsupportedError, UnknownArgumentError, PipelineException, ImageError, AudioError, TextTooLongError,
    ChatTemplateError, UnfinishedAnswerError,
)  # fmt: skip


@dataclass
class RequestFault(Exception):
    """Why a request is not answered.

    Attributes:
        status: of HTTP.
        message: for the client.
        code: a word for programs: "model_not_found".
        param: the field at fault.
        retry_s: seconds after which trying again makes sense; None if it does not.
    """

    status: int
    message: str
    code: str | None = None
    param: str | None = None
    retry_s: float | None = None

    def __str__(self) -> str:
        return self.message

    @property
    def headers(self) -> dict[str, str]:
        """The headers that go with the status."""
        found = {} if self.retry_s is None else {"retry-after": str(max(1, math.ceil(self.retry_s)))}
        return {**found, "www-authenticate": "Bearer"} if self.status == 401 else found


def bad_request(message: str, param: str | None = None) -> RequestFault:
    """Make the fault of a request whose content is wrong."""
    return RequestFault(400, message, param=param)


def fault_of(
    error: BaseException, *, admitted: bool, retry_s: float, hide: dict[str, str], request_id: str
) -> RequestFault:
    """Make the fault of an error that a pipeline raised.

    Args:
        error: the error.
        admitted: whether rows of the call had reached the model: before that, the input or a parameter is at fault.
        retry_s: seconds until what waits has run.
        hide: what must not be said (the model's folder), with what stands in its place.
        request_id: names the request in the log.
    """
    if isinstance(error, RequestFault):
        return error
    message = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    for secret, instead in hide.items():
        message = message.replace(secret, instead)
    if isinstance(error, OverloadedError):
        return RequestFault(429, message, "overloaded", retry_s=retry_s)
    if isinstance(error, (CallTimeoutError, RunTimeoutError)):
        return RequestFault(504, message, "timeout")
    if isinstance(error, CallCancelledError):
        return RequestFault(503, "the server is stopping: try again", "stopping", retry_s=1)
    if isinstance(error, MissingDependencyError):
        return RequestFault(501, message, "not_installed")
    if isinstance(error, _CLIENTS):
        return bad_request(message)
    if not admitted and isinstance(error, (ValueError, TypeError, KeyError)) and not isinstance(error, OnnxPipeError):
        return bad_request(message or type(error).__name__)
    if not admitted and isinstance(error, (AttributeError, IndexError, RecursionError)):
        logger.info("request %s: an input of the wrong form", request_id, exc_info=error)
        return bad_request("the input does not have the form that the task takes")
    logger.error("request %s failed", request_id, exc_info=error)
    return RequestFault(500, f"the server failed; its log says more under the id {request_id}", "internal_error")
