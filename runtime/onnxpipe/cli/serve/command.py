"""The command `onnxpipe serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from onnxpipe.cli.guard import device_option, hub_options, traceback_option

_LOCAL = ("127.0.0.1", "localhost", "::1")


@click.command("serve", short_help="Serve models over HTTP.")
@click.argument("models", nargs=-1, metavar="[NAME=]MODEL[:TASK]...")
@click.option("--config", "config_path", type=click.Path(exists=True, dir_okay=False, path_type=Path),
              help="TOML file with a table [models.NAME] for each model.")  # fmt: skip
@click.option("--task", help="Task of the models; by default the one that each was exported for.")
@click.option("--name", help="Name of the model in requests; by default that of its folder.")
@click.option("--dtype", default="auto", show_default=True, help="Precision: fp32, fp16, int8, q4, ...")
@device_option
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; any other needs a key.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65535))
@click.option("--api-key", "keys", multiple=True,
              help="Key that requests need; safer: ONNXPIPE_API_KEY in the environment. Repeatable.")  # fmt: skip
@click.option("--no-auth", is_flag=True, help="Listen on other addresses without a key.")
@click.option(
    "--allow-host", "hosts", multiple=True, help="Further name that requests may call this server. Repeatable."
)
@click.option("--cors", multiple=True, metavar="ORIGIN", help="Site whose pages may use this server. Repeatable.")
@click.option("--allow-urls", is_flag=True, help="Fetch images and recordings that requests name by URL.")
@click.option("--max-body", default=20.0, show_default=True, type=click.FloatRange(0, min_open=True),
              help="Largest request in MB.")  # fmt: skip
@click.option("--max-inputs", default=32, show_default=True, type=click.IntRange(1), help="Most inputs of a request.")
@click.option("--max-new-tokens", default=4096, show_default=True, type=click.IntRange(1),
              help="Most tokens that a request may have generated.")  # fmt: skip
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="SECONDS",
              help="Give an answer up after so long; by default none is.")  # fmt: skip
@click.option("--drain", default=30.0, show_default=True, type=click.FloatRange(0), metavar="SECONDS",
              help="Time for what is going on to end when the server stops.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), help="Threads that run batches; by default what suits the task.")
@click.option("--threads", type=click.IntRange(1), help="Threads of one run; by default what suits the task.")
@click.option("--slots", default=8, show_default=True, type=click.IntRange(0),
              help="Texts that a model writes at a time; 0 writes one call after the other.")  # fmt: skip
@click.option("--prefix-cache/--no-prefix-cache", default=None,
              help="Continue prompts from what was run before; by default of graphs that are not int8.")  # fmt: skip
@click.option("--cache-memory", type=click.FloatRange(0, min_open=True), metavar="GB",
              help="Memory for the texts that are written at a time; by default a quarter of all.")  # fmt: skip
@click.option("--metrics-port", type=click.IntRange(0, 65535), help="Further port with /metrics alone, without a key.")
@click.option("--skip-verify", is_flag=True, help="Do not compare files and answers with those of the export.")
@click.option("-q", "--quiet", is_flag=True, help="Log no requests.")
@hub_options
@traceback_option
def command(
    models: tuple[str, ...],
    config_path: Path | None,
    task: str | None,
    name: str | None,
    dtype: str,
    device: str | None,
    host: str,
    port: int,
    keys: tuple[str, ...],
    no_auth: bool,
    hosts: tuple[str, ...],
    cors: tuple[str, ...],
    allow_urls: bool,
    max_body: float,
    max_inputs: int,
    max_new_tokens: int,
    timeout: float | None,
    drain: float,
    workers: int | None,
    threads: int | None,
    slots: int,
    prefix_cache: bool | None,
    cache_memory: float | None,
    metrics_port: int | None,
    skip_verify: bool,
    quiet: bool,
    revision: str | None,
    token: str | None,
    cache_dir: str | None,
    offline: bool,
) -> None:
    """Serve MODELs (folders or Hub ids) over HTTP, for clients of Hugging Face, OpenAI and others.

    \b
    onnxpipe serve sst2-bundle
    onnxpipe serve chat=smollm2 embed=minilm:embedding --dtype int8
    """
    from onnxpipe.serving.packages import check_packages

    check_packages()

    from dataclasses import replace

    from onnxpipe.cli.serve.models import check_names, parse_source, read_sources
    from onnxpipe.cli.serve.run import keys_of, serve
    from onnxpipe.serving.front import local_hosts
    from onnxpipe.serving.settings import MB, ServeSettings

    common: dict[str, Any] = {"task": task, "dtype": dtype, "device": device, "workers": workers, "threads": threads}
    sources = [parse_source(text, **common) for text in models]
    if config_path is not None:
        sources += read_sources(config_path, common)
    if not sources:
        raise click.UsageError("name a model: onnxpipe serve FOLDER")
    if name is not None:
        if len(sources) > 1:
            raise click.UsageError("--name is for one model: name several as in first=FOLDER second=OTHER")
        sources = [replace(sources[0], name=name)]
    check_names(sources)
    all_keys = keys_of(keys)
    local = host in _LOCAL
    if not local and not all_keys and not no_auth:
        raise click.UsageError(
            f"--host {host} lets others in: set ONNXPIPE_API_KEY to a key that requests must have, or pass --no-auth"
        )
    settings = ServeSettings(
        keys=all_keys,
        hosts=local_hosts(hosts) if local or hosts else None,
        cors=cors,
        allow_urls=allow_urls,
        max_body=int(max_body * MB),
        max_json=min(int(max_body * MB), ServeSettings.max_json),
        max_inputs=max_inputs,
        max_new_tokens=max_new_tokens,
        timeout_s=timeout,
        drain_s=drain,
        slots=slots,
        prefix_cache=prefix_cache,
        cache_memory=None if cache_memory is None else int(cache_memory * 1000 * MB),
    )
    hub = {"revision": revision, "token": token, "cache_dir": cache_dir, "local_files_only": offline}
    serve(sources, settings, hub, host=host, port=port, metrics_port=metrics_port, verify=not skip_verify, quiet=quiet)
