"""`onnxpipe export`: a model of PyTorch to a certified bundle."""

from __future__ import annotations

import time

import click

from onnxpipe.cli.guard import hub_options, traceback_option


@click.command("export")
@click.argument("model")
@click.option("-o", "--output", required=True, type=click.Path(file_okay=False), help="Folder to write.")
@click.option("--task", help="text-generation, translation, text-classification, ...; by default by the architecture.")
@click.option("--precision", default="fp32", show_default=True, help="One or several, with commas: fp32,fp16,int8,q4.")
@click.option(
    "--attention",
    type=click.Choice(["auto", "gqa", "standard"]),
    default="auto",
    show_default=True,
    help="Of language models: ONNX Runtime's GroupQueryAttention, plain operators, or the first where it holds.",
)
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False),
    help="Of models that see or hear: a folder of pictures or recordings like theirs, to prove and calibrate with.",
)
@hub_options
@traceback_option
def command(
    model: str,
    output: str,
    task: str | None,
    precision: str,
    attention: str,
    calibration: str | None,
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
) -> None:
    """Export MODEL (a folder or a Hub id) to ONNX and prove it against PyTorch.

    Nothing is written where a graph does not answer as the original does.
    """
    from onnxpipe.bundle import load_exporter

    precisions = tuple(name.strip() for name in precision.split(",") if name.strip())
    if not precisions:
        raise click.BadParameter("name at least one precision", param_hint="--precision")
    exporter = load_exporter()
    begin = time.monotonic()

    def progress(message: str) -> None:
        click.echo(f"{time.monotonic() - begin:7.1f} s  {message}", err=True)

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
    click.echo(str(report))
