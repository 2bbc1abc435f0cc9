"""`onnxpipe package`: write what another system needs to run a bundle."""

from __future__ import annotations

from pathlib import Path

import click

from onnxpipe.cli.guard import hub_options, traceback_option
from onnxpipe.cli.terminal import echo, printable


@click.command("package", short_help="Write a Docker image's or Triton's files for a model.")
@click.argument("model")
@click.option("--for", "system", required=True, type=click.Choice(["docker", "triton"]), help="What runs the model.")
@click.option("-o", "--output", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Empty folder to write to; by default NAME-docker or NAME-triton.")  # fmt: skip
@click.option("--task", help="Task to answer; by default the one that the model was exported for.")
@click.option("--name", help="What requests call the model; by default its folder's name.")
@click.option("--dtype", default="auto", show_default=True, help="Precision that is packed: fp32, fp16, int8, q4.")
@click.option("--mount", is_flag=True, help="Docker: leave the model out of the image; it is mounted where it runs.")
@hub_options
@traceback_option
def command(
    model: str,
    system: str,
    output: Path | None,
    task: str | None,
    name: str | None,
    dtype: str,
    mount: bool,
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
) -> None:
    """Write what Docker or Triton needs to serve MODEL, a folder or a Hub id; as in `onnxpipe serve`, NAME=FOLDER:TASK.

    \b
    onnxpipe package sst2-bundle --for docker
    onnxpipe package sst2-bundle --for triton -o repository --dtype int8
    """
    from onnxpipe.cli.package.contents import Content
    from onnxpipe.cli.package.docker import write_docker
    from onnxpipe.cli.package.triton import write_triton

    if mount and system != "docker":
        raise click.UsageError("--mount is for --for docker")
    hub = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": offline}
    content = Content.read(model, task, name, dtype, hub)
    target = output or Path(f"{content.name}-{system}")
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise click.BadParameter(f"{target} is not an empty folder: name another, or delete it", param_hint="--output")
    target.mkdir(parents=True, exist_ok=True)
    lines = write_docker(content, target, mount=mount) if system == "docker" else write_triton(content, target)
    echo(printable(f"wrote {target}; it is started by"), err=True)
    for line in lines:
        echo(printable(line))
