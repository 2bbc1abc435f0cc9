"""`onnxpipe chat`: a conversation with a model in the terminal."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.guard import describe, device_argument, hub_options, traceback_option
from onnxpipe.cli.run.params import parse_params
from onnxpipe.cli.run.streaming import visible
from onnxpipe.errors import OnnxPipeError

#: Longest answer in tokens, where neither the user nor the model says one.
_TOKENS = 1024

_HELP = """\
A line is what you say. A line that ends with \\ goes on in the next; between lines of \"\"\" there may be any number.
  /clear         begin anew; the system message stays
  /system TEXT   begin anew with this system message; alone: show it
  /save FILE     write the conversation to FILE, as JSON
  /help          this
  /exit          leave (so does Ctrl-D)
Ctrl-C stops an answer. A text that begins with / is written with two: //etc
"""


class ChatError(OnnxPipeError, ValueError):
    """A model that cannot chat."""


@click.command("chat")
@click.option("-m", "--model", required=True, help="Folder or Hub id of a model with a chat template.")
@click.option("--system", help="The system message: what the model is told before you speak.")
@click.option("-p", "--param", "params", multiple=True, metavar="NAME=VALUE",
              help="A parameter of generation: temperature=0.2, do_sample=false, seed=1, ...")  # fmt: skip
@click.option("--dtype", default="auto", show_default=True, help="Precision: fp32, fp16, int8, q4, ...")
@click.option("--device", help="cpu, cuda, cuda:1, coreml, or an index; by default the first that works.")
@click.option("--provider", "providers", multiple=True, help="ONNX Runtime provider, instead of --device. Repeatable.")
@click.option("--threads", type=click.IntRange(1), help="Threads; by default what the container grants.")
@hub_options
@traceback_option
def command(
    model: str,
    system: str | None,
    params: tuple[str, ...],
    dtype: str,
    device: str | None,
    providers: tuple[str, ...],
    threads: int | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
) -> None:
    """Talk with MODEL. Answers appear as they are written; /help lists the commands.

    Without a terminal each line of stdin is one turn.

    \b
    onnxpipe chat --model M
    onnxpipe chat --model M --system "You are terse." -p temperature=0.2
    echo "What is ONNX?" | onnxpipe chat --model M -p do_sample=false
    """
    from onnxpipe import factory
    from onnxpipe.tasks.text_generation import TextGenerationOptions

    given = parse_params(params, TextGenerationOptions)
    pipe = factory.pipeline(
        "text-generation",
        model,
        dtype=dtype,
        device=device_argument(device),
        providers=list(providers) or None,
        threads=threads,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=offline,
    )
    if pipe.tokenizer.chat_template is None:
        raise ChatError(
            f"{model} has no chat template: it continues texts and knows no turns; "
            f'onnxpipe run text-generation --model {model} "Once upon a time"'
        )
    if not {"max_new_tokens", "max_length"} & {*given, *pipe.chosen()}:
        given["max_new_tokens"] = _TOKENS
    lines = Lines(sys.stdin.isatty())
    if lines.terminal:
        with contextlib.suppress(ImportError):
            import readline  # noqa: F401  (input() then has history and editing)
    Talk(pipe, given, system).run(lines)


@dataclass
class Lines:
    """What the user says, turn by turn, from a terminal or from stdin's lines.

    Attributes:
        terminal: whether somebody sits there: prompts are shown and errors do not end the chat.
    """

    terminal: bool

    def turn(self) -> str | None:
        """What is said next; None where there is no more."""
        try:
            while not (turn := self._turn()).strip():
                pass
            return turn
        except EOFError:
            if self.terminal:
                click.echo()
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
class Talk:
    """A conversation.

    Attributes:
        pipe: the text-generation pipeline.
        params: keywords of its calls.
        system: the system message, or None.
        turns: what was said since the beginning, without the system message.
    """

    pipe: Any
    params: Mapping[str, Any]
    system: str | None = None
    turns: list[dict[str, str]] = field(default_factory=list)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The whole conversation."""
        return [*([{"role": "system", "content": self.system}] if self.system else []), *self.turns]

    def run(self, lines: Lines) -> None:
        """Answers turn by turn, until there are no more or the user leaves."""
        if lines.terminal:
            click.echo(f"{self.pipe.model.name_or_path}, {self.pipe.dtype} on {self.pipe.device}. /help for help.")
        while True:
            try:
                turn = lines.turn()
                if turn is None or not self._take(turn):
                    return
            except KeyboardInterrupt:
                if not lines.terminal:
                    raise
                click.echo("\n(Ctrl-D or /exit leaves)")
            except Exception as error:
                if not lines.terminal:
                    raise
                click.echo(f"error: {describe(error)}", err=True)

    def _take(self, turn: str) -> bool:
        """Does or answers what was said; False to leave."""
        if turn.startswith("/") and not turn.startswith("//"):
            return self._command(turn)
        self.answer(turn.removeprefix("/") if turn.startswith("//") else turn)
        return True

    def answer(self, said: str) -> None:
        """Writes the answer to what was said as it comes. Ctrl-C ends it; what was written stays part of the talk.

        Raises:
            Exception: the model's; what was said is then no part of the talk.
        """
        asked = {"role": "user", "content": said}
        written: list[str] = []
        whole = False
        pieces = self.pipe.stream([*self.messages, asked], **self.params)
        try:
            for piece in pieces:
                written.append(piece)
                click.echo(visible(piece), nl=False)
            click.echo()
            whole = True
        except KeyboardInterrupt:
            click.echo(" (stopped)")
        finally:
            pieces.close()
        if written or whole:
            self.turns += [asked, {"role": "assistant", "content": "".join(written)}]

    def _command(self, line: str) -> bool:
        """Does what a line that begins with / says; False to leave."""
        name, _, rest = line[1:].partition(" ")
        known: dict[str, Callable[[str], None]] = {
            "help": lambda _: click.echo(_HELP, nl=False),
            "clear": lambda _: self.turns.clear(),
            "system": self._set_system,
            "save": self._save,
        }
        if name in ("exit", "quit"):
            return False
        if name not in known:
            raise ChatError(f"no command /{name}: /help lists them; a text that begins with / is written with two")
        known[name](rest.strip())
        return True

    def _set_system(self, text: str) -> None:
        if not text:
            click.echo(visible(self.system or "(none)"))
            return
        self.system = text
        self.turns.clear()

    def _save(self, path: str) -> None:
        if not path:
            raise ChatError("/save FILE: name the file")
        target = Path(path).expanduser()
        target.write_text(json.dumps(self.messages, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        click.echo(f"{len(self.messages)} messages written to {visible(str(target))}")
