"""The command line: `onnxpipe export | run | chat | serve | package | inspect | verify | bench | tune | doctor`.

Results go to stdout, progress and warnings to stderr. Exit codes: 0 done, 1 an error (one line, `error: ...`), 2
wrong arguments, 3 done, but some inputs or rows have an error (`--on-error return`), 130 interrupted, 141
stdout was closed (as by `head`).
"""

from __future__ import annotations

import importlib

import click

from onnxpipe._version import __version__
from onnxpipe.cli.guard import GuardedGroup, traceback_option

#: The commands in the order of the documentation, with their modules.
COMMANDS = {
    "export": "export", "run": "run.command", "chat": "chat", "serve": "serve.command", "package": "package.command",
    "inspect": "inspect", "verify": "verify", "bench": "bench.command", "tune": "tune", "doctor": "doctor",
}  # fmt: skip


class _Commands(GuardedGroup):
    """The commands; the module of one is imported when it is called, as all of them take a tenth of a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"onnxpipe.cli.{COMMANDS[cmd_name]}").command
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxpipe")
@traceback_option
def main() -> None:
    """Export Hugging Face models to certified ONNX bundles and run them without PyTorch."""


__all__ = ["COMMANDS", "main"]
