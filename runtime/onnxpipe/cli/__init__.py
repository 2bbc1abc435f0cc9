"""The command line: `onnxpipe export | run | chat | serve | package | inspect | verify | bench | tune | doctor`.

Results go to stdout, progress and warnings to stderr. Exit codes: 0 done, 1 an error (one line, `error: ...`), 2
wrong arguments, 3 done, but some inputs or rows have an error (`--on-error return`), 130 interrupted, 141
stdout was closed (as by `head`).
"""

from __future__ import annotations

import click

from onnxpipe._version import __version__
from onnxpipe.cli import chat, doctor, export, inspect, tune, verify
from onnxpipe.cli.bench import command as bench
from onnxpipe.cli.guard import GuardedGroup, traceback_option
from onnxpipe.cli.package import command as package
from onnxpipe.cli.run import command as run
from onnxpipe.cli.serve import command as serve


@click.group(cls=GuardedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="onnxpipe")
@traceback_option
def main() -> None:
    """Export Hugging Face models to certified ONNX bundles and run them without PyTorch."""


for _module in (export, run, chat, serve, package, inspect, verify, bench, tune, doctor):
    main.add_command(_module.command)

__all__ = ["main"]
