"""`onnxpipe chat`: hold a conversation with a model in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from onnxpipe.cli.guard import (
    describe,
    device_argument,
    device_option,
    dtype_option,
    hub_options,
    place_options,
    run_timeout_option,
    traceback_option,
)
from onnxpipe.cli.run.params import parse_params
from onnxpipe.cli.terminal import echo, visible
from onnxpipe.errors import OnnxPipeError

#: Longest answer in tokens, where neither the user nor the model sets a limit.
_TOKENS = 1024

#: The task of models that see images.
_WITH_IMAGES = "image-text-to-text"

_HELP = """\
Each line is a message. A line that ends with \\ goes on in the next; lines between two lines of \"\"\" are one message.
  /clear         start again; the system message stays
  /image FILE    show an image with the next message: a path or a URL (of models that see images; repeatable)
  /video FILE    show a video with the next message (of models that see videos; repeatable)
  /system TEXT   start again with this system message; without TEXT: show it
  /save FILE     write the conversation to FILE, as JSON
  /help          show this help
  /exit          leave (so does Ctrl-D)
Ctrl-C stops an answer. To send a message that begins with /, write two: //etc
"""


class ChatError(OnnxPipeError, ValueError):
    """A model that cannot chat."""


@click.command("chat")
@click.option("-m", "--model", required=True, help="Folder or Hub id of a model with a chat template.")
@click.option("--system", help="System message: instructions for the model.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE",
              help="Generation parameter, repeatable: temperature=0.2, do_sample=false, seed=1, ...")  # fmt: skip
@dtype_option
@place_options
@device_option
@click.option("--provider", "providers", multiple=True, help="ONNX Runtime provider, instead of --device. Repeatable.")
@click.option("--threads", type=click.IntRange(1), help="Number of threads; by default the CPUs that are available.")
@run_timeout_option
@hub_options
@traceback_option
def command(
    model: str,
    system: str | None,
    params: tuple[str, ...],
    dtype: str,
    file_name: str | None,
    subfolder: str | None,
    model_file_name: str | None,
    onnx: Literal["community"] | None,
    device: str | None,
    providers: tuple[str, ...],
    threads: int | None,
    run_timeout: float | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
) -> None:
    """Chat with a model. Answers appear as they are generated; /help lists the commands. A model that sees images is
    shown one by /image FILE, and by /video FILE a video.

    Without a terminal each line of stdin is one message.

    \b
    onnxpipe chat --model M
    onnxpipe chat --model M --system "You are terse." -p temperature=0.2
    echo "What is ONNX?" | onnxpipe chat --model M -p do_sample=false
    """
    from onnxpipe import factory
    from onnxpipe.tasks.registry import task_spec

    hub: dict[str, Any] = {
        "revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": offline
    }  # fmt: skip
    task = _WITH_IMAGES if _WITH_IMAGES in factory.tasks_of(model, **hub) else "text-generation"
    options = parse_params(params, task_spec(task).pipeline.Options)
    pipe = factory.pipeline(
        task,
        model,
        dtype=dtype,
        file_name=file_name,
        subfolder=subfolder,
        model_file_name=model_file_name,
        onnx=onnx,
        device=device_argument(device),
        providers=list(providers) or None,
        threads=threads,
        run_timeout=run_timeout,
        **hub,
    )
    sees = task == _WITH_IMAGES
    if (pipe.processor if sees else pipe.tokenizer).chat_template is None:
        raise ChatError(
            f"{model} has no chat template: it can only continue texts. Run "
            f'onnxpipe run text-generation --model {model} "Once upon a time"'
        )
    if not {"max_new_tokens", "max_length"} & {*options, *pipe.model_parameters()}:
        options["max_new_tokens"] = _TOKENS
    reader = TurnReader(sys.stdin.isatty())
    if reader.terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (input() then has history and editing)
    Conversation(pipe, options, system, sees=sees).run(reader)


@dataclass
class TurnReader:
    """Reads the user's messages from a terminal or from the lines of stdin.

    Attributes:
        terminal: whether stdin is a terminal: then prompts are shown, and errors do not end the chat.
    """

    terminal: bool

    def turn(self) -> str | None:
        """Read the next message that is not empty; None at the end."""
        try:
            while not (turn := self._turn()).strip():
                pass
            return turn
        except EOFError:
            if self.terminal:
                echo()
            return None

    def _turn(self) -> str:
        line = self._line("> ")
        if line.strip() == '"""':
            block = []
            while (line := self._line("… ")).strip() != '"""':
                block.append(line)
            return "\n".join(block)
        lines = []
        while line.endswith("\\"):
            lines.append(line[:-1])
            line = self._line("… ")
        return "\n".join([*lines, line])

    def _line(self, prompt: str) -> str:
        if self.terminal:
            return input(prompt)
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.rstrip("\r\n")


@dataclass
class Conversation:
    """A conversation with a model.

    Attributes:
        pipe: the pipeline of text-generation, or of image-text-to-text.
        params: keywords of its calls.
        system: the system message, or None.
        sees: whether the model sees images; then the content of messages is a list of parts.
        turns: the messages of user and assistant, without the system message.
        shown: the parts of the next message that are images and videos.
    """

    pipe: Any
    params: Mapping[str, Any]
    system: str | None = None
    sees: bool = False
    turns: list[dict[str, Any]] = field(default_factory=list)
    shown: list[dict[str, str]] = field(default_factory=list)

    @property
    def messages(self) -> list[dict[str, Any]]:
        """All messages, the system message first."""
        return [*([self._message("system", self.system)] if self.system else []), *self.turns]

    def _message(self, role: str, text: str, shown: Sequence[Mapping[str, str]] = ()) -> dict[str, Any]:
        """Make a message, in the form that the model's template takes."""
        parts = [*shown, {"type": "text", "text": text}]
        return {"role": role, "content": parts if self.sees else text}

    def run(self, reader: TurnReader) -> None:
        """Answer message by message, until there are no more or the user leaves."""
        if reader.terminal:
            echo(f"{self.pipe.model.name_or_path}, {self.pipe.dtype} on {self.pipe.device}. /help for help.")
        while True:
            try:
                turn = reader.turn()
                if turn is None or not self._take(turn):
                    return
            except KeyboardInterrupt:
                if not reader.terminal:
                    raise
                echo("\n(Ctrl-D or /exit leaves)")
            except Exception as error:
                if not reader.terminal:
                    raise
                echo(f"error: {describe(error)}", err=True)

    def _take(self, turn: str) -> bool:
        """Carry out a command or answer a message; return False to leave."""
        if turn.startswith("/") and not turn.startswith("//"):
            return self._command(turn)
        self.answer(turn.removeprefix("/") if turn.startswith("//") else turn)
        return True

    def answer(self, text: str) -> None:
        """Write the answer to a message as it is generated. Ctrl-C ends it; the part that was written is kept.

        Raises:
            Exception: the model's; the message is then not added to the conversation.
        """
        message = self._message("user", text, self.shown)
        written: list[str] = []
        whole = False
        pieces = self.pipe.stream([*self.messages, message], **self.params)
        try:
            for piece in pieces:
                written.append(piece)
                echo(visible(piece), nl=False)
            echo()
            whole = True
        except KeyboardInterrupt:
            echo(" (stopped)")
        finally:
            pieces.close()
        if written or whole:
            self.turns += [message, self._message("assistant", "".join(written))]
            self.shown = []

    def _command(self, line: str) -> bool:
        """Carry out a line that begins with /; return False to leave."""
        name, _, rest = line[1:].partition(" ")
        known: dict[str, Callable[[str], None]] = {
            "help": lambda _: echo(_HELP, nl=False),
            "clear": lambda _: self._clear(),
            "image": lambda source: self._show("image", source),
            "video": lambda source: self._show("video", source),
            "system": self._set_system,
            "save": self._save,
        }
        if name in ("exit", "quit"):
            return False
        if name not in known:
            raise ChatError(f"no command /{name}: /help lists them. To send a message that begins with /, write two")
        known[name](rest.strip())
        return True

    def _set_system(self, text: str) -> None:
        if not text:
            echo(visible(self.system or "(none)"))
            return
        self.system = text
        self._clear()

    def _clear(self) -> None:
        self.turns.clear()
        self.shown.clear()

    def _show(self, kind: str, source: str) -> None:
        """Show an image or a video with the next message; one that cannot be read is refused at once."""
        takes = self.sees if kind == "image" else self.sees and getattr(self.pipe.processor, "video_token", None)
        if not takes:
            raise ChatError(f"{self.pipe.model.name_or_path} sees no {kind}s: /{kind} needs a model that does")
        if not source:
            raise ChatError(f"/{kind} needs a path or a URL: /{kind} FILE")
        path = str(Path(source).expanduser()) if source.startswith("~") else source
        width, height = _size_of(kind, path)
        self.shown.append({"type": kind, kind: path})
        echo(f"{visible(source)}: {width} x {height}, shown with the next message")

    def _save(self, path: str) -> None:
        if not path:
            raise ChatError("/save needs a file: /save FILE")
        target = Path(path).expanduser()
        target.write_text(json.dumps(self.messages, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        echo(f"{len(self.messages)} messages written to {visible(str(target))}")


def _size_of(kind: str, path: str) -> tuple[int, int]:
    """Read an image, or the first frame of a video; return its width and height."""
    if kind == "video":
        from onnxpipe.processing.video.read import read_frames

        height, width = read_frames(path, 1)[0].shape[:2]
        return width, height
    from onnxpipe.processing.images.io.load import load_image

    image = load_image(path)
    return image.width, image.height
