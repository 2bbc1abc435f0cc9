"""Shared by every command: errors and warnings in one line, quiet ends by signals and closed pipes."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from onnxpipe.cli.terminal import echo, printable, visible
from onnxpipe.errors import OnnxPipeError

#: Exit codes. Those of signals are as shells have them: 128 plus the signal's number.
SOME_FAILED = 3
INTERRUPTED = 130
CLOSED_PIPE = 141

_TRACEBACK = "onnxpipe.traceback"
#: Errors whose message is enough for a user. Any other is named by its type as well.
_EXPECTED = (OnnxPipeError, OSError, ValueError, KeyError, TypeError, RuntimeError)

_Command = TypeVar("_Command", bound=Callable[..., Any])


class GuardedGroup(click.Group):
    """A group whose commands end with `error: ...` on stderr and exit code 1 instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command. With `--traceback` an error is raised on."""
        try:
            with _warnings_to_stderr(), _signals_as_exit():
                try:
                    return super().invoke(ctx)
                finally:
                    sys.stdout.flush()  # here, where a closed pipe or a full disk can still be handled
        except click.ClickException as error:
            error.message = visible(error.message)  # type: ignore[misc]
            raise
        except (click.Abort, click.exceptions.Exit):
            raise
        except KeyboardInterrupt:
            ctx.exit(INTERRUPTED)
        except BrokenPipeError:
            _forget_stdout()
            ctx.exit(CLOSED_PIPE)
        except Exception as error:
            _forget_stdout_if_broken()
            if ctx.meta.get(_TRACEBACK):
                raise
            echo(f"error: {printable(describe(error))}", err=True)
            ctx.exit(1)


def traceback_option(command: _Command) -> _Command:
    """Add the option `--traceback`."""

    def remember(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        if value:
            ctx.meta[_TRACEBACK] = True  # a context shares `meta` with its parents

    return click.option(
        "--traceback", is_flag=True, is_eager=True, expose_value=False, callback=remember,
        help="Show Python's traceback when an error occurs.",
    )(command)  # fmt: skip


class OutputFile(click.Path):
    """A file to write, refused before the work begins where its folder does not exist."""

    def __init__(self) -> None:
        super().__init__(path_type=Path, dir_okay=False)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert the text of an option to a `Path`."""
        path: Any = super().convert(value, param, ctx)
        if not path.parent.is_dir():
            self.fail(f"no folder {str(path.parent)!r} for {path.name}", param, ctx)
        return path


def hub_options(command: _Command) -> _Command:
    """Add the Hub's options, with the keywords revision, token, cache_dir and offline."""
    for option in (
        click.option("--offline", is_flag=True, help="Do not use the network."),
        click.option("--cache-dir", type=click.Path(file_okay=False), help="Cache folder of the Hub."),
        click.option("--token", help="Access token of the Hub; safer: HF_TOKEN in the environment."),
        click.option("--revision", help="Branch, tag or commit on the Hub."),
    ):
        command = option(command)
    return command


def dtype_option(command: _Command) -> _Command:
    """Add the option `--dtype`."""
    return click.option(
        "--dtype", default="auto", show_default=True,
        help="Precision: fp32, fp16, int8, q4, ... or one for each graph: encoder_model=fp32,decoder_model_merged=q4.",
    )(command)  # fmt: skip


def device_option(command: _Command) -> _Command:
    """Add the option `--device`."""
    return click.option(
        "--device",
        help="cpu, cuda, cuda:1, coreml, a GPU's index, or an installed execution provider (openvino); by default "
        "the first GPU that works, or else the CPU.",
    )(command)  # fmt: skip


def place_options(command: _Command) -> _Command:
    """Add the options that say where a model's graphs are: file_name, subfolder, model_file_name, onnx."""
    for option in (
        click.option("--onnx", type=click.Choice(["community"]),
                     help="Where a Hub repository has no graphs, take the same weights made ready by the community."),
        click.option("--model-file-name", metavar="NAME", help="The graph's name, if it is not model: NAME_int8.onnx."),
        click.option("--subfolder", metavar="DIR", help="Folder of the graphs, if it is neither onnx/ nor the root."),
        click.option("--file-name", metavar="FILE", help="File of the graph, as model_O4.onnx; by default by --dtype."),
    ):  # fmt: skip
        command = option(command)
    return command


def run_timeout_option(command: _Command) -> _Command:
    """Add the option `--run-timeout`, a number of seconds above 0."""
    return click.option(
        "--run-timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
        help="Stop a run of a graph (a batch; a step of generation) that takes longer; by default none is stopped.",
    )(command)  # fmt: skip


def describe(error: BaseException) -> str:
    """Describe an error in one line."""
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        text = f"{error.filename}: {error.strerror}"
    elif isinstance(error, OSError) and error.strerror:
        text = error.strerror
    elif isinstance(error, KeyError) and error.args:
        text = str(error.args[0])  # str() of a KeyError is the repr of its message
    else:
        text = str(error)
    text = " ".join(text.split()) or type(error).__name__
    text = text.replace("pass truncation=True", "pass -p truncation=true").replace(
        "(truncation=True", "(-p truncation=true"
    )
    if isinstance(error, _EXPECTED):
        return text
    return f"{type(error).__name__}: {text}"


def device_argument(value: str | None) -> str | int | None:
    """Convert the value of `--device`: a number is the index of a GPU."""
    if value is None:
        return None
    try:
        return int(value)
    except ValueError:
        return value


class _Handler(logging.Handler):
    """Writes records as `warning: ...` to stderr."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else record.levelname.lower()
        echo(f"{level}: {printable(record.getMessage())}", err=True)


@contextlib.contextmanager
def _warnings_to_stderr() -> Iterator[None]:
    """Write warnings (of `warnings` and of onnxpipe's logger) as `warning: ...` to stderr while a command runs."""

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        echo(f"warning: {printable(' '.join(str(message).split()))}", err=True)

    logger = logging.getLogger("onnxpipe")
    handler, propagate = _Handler(logging.WARNING), logger.propagate
    with warnings.catch_warnings():
        warnings.showwarning = show
        logger.addHandler(handler)
        logger.propagate = False
        try:
            yield
        finally:
            logger.removeHandler(handler)
            logger.propagate = propagate


@contextlib.contextmanager
def _signals_as_exit() -> Iterator[None]:
    """Let SIGTERM and SIGHUP, with which containers and terminals stop, unwind the command as Ctrl-C does.

    A signal that the parent has set to be ignored (as `nohup` does) stays so.
    """

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = {}
    if threading.current_thread() is threading.main_thread():
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _forget_stdout() -> None:
    """Redirect stdout to the null device, so that Python's own flush at exit does not meet the closed pipe again."""
    with contextlib.suppress(OSError, ValueError):
        sink = os.open(os.devnull, os.O_WRONLY)
        os.dup2(sink, sys.stdout.fileno())
        os.close(sink)


def _forget_stdout_if_broken() -> None:
    """Forget what stdout still holds where it cannot be written (a full disk), as for a closed pipe."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        _forget_stdout()
