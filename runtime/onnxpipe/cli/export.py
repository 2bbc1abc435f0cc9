"""`onnxpipe export`: convert a PyTorch model to a certified bundle."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from onnxpipe.cli.guard import hub_options, traceback_option
from onnxpipe.cli.terminal import echo

if TYPE_CHECKING:
    from onnxpipe.bundle.exporter import Attention


@click.command("export", short_help="Export a model to ONNX and verify it.")
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="Folder to write to.")
@click.option("--task", help="Task to export for, e.g. text-generation; by default what the architecture is for.")
@click.option("--precision", default="fp32", show_default=True, help="Comma-separated: fp32,fp16,int8,q4.")
@click.option(
    "--attention",
    type=click.Choice(["auto", "gqa", "standard"]),
    default="auto",
    show_default=True,
    help="Language models: ONNX Runtime's GroupQueryAttention (gqa) or plain operators (standard); auto: gqa where the "
    "model fits it.",
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False),
    help="Vision and audio models: folder of sample images or recordings for int8 calibration and verification.",
)
@hub_options
@traceback_option
def command(
    model: str,
    output: str,
    task: str | None,
    precision: str,
    attention: Attention,
    calibration: str | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
) -> None:
    """Export MODEL (a folder or a Hub id) to ONNX and verify it against PyTorch.

    Nothing is written unless every graph gives the answers of the original.
    """
    from onnxpipe.bundle import load_exporter

    precisions = tuple(name.strip() for name in precision.split(",") if name.strip())
    if not precisions:
        raise click.BadParameter("name at least one precision", param_hint="--precision")
    exporter = load_exporter()
    begin = time.monotonic()

    def progress(message: str) -> None:
        echo(f"{time.monotonic() - begin:7.1f} s  {message}", err=True)

    report = exporter.export(
        model,
        output,
        task=task,
        precision=precisions,
        attention=attention,
        calibration=calibration,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=offline,
        progress=progress,
    )
    echo(str(report))
