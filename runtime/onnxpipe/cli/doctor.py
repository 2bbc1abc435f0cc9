"""`onnxpipe doctor`: check the installation and the machine, and say how to mend what is wrong."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import click

from onnxpipe.cli import machine
from onnxpipe.cli.cuda import run_problem
from onnxpipe.cli.guard import describe, traceback_option
from onnxpipe.cli.terminal import echo, json_text, printable

Level = Literal["ok", "warning", "broken"]

_PACKAGES = ("onnxpipe", "numpy", "tokenizers", "huggingface-hub")
_EXPORTER = ("torch", "transformers", "onnx")
_RUNTIMES = (
    "onnxruntime", "onnxruntime-gpu", "onnxruntime-directml", "onnxruntime-openvino", "onnxruntime-training",
    "ort-nightly", "ort-nightly-gpu",
)  # fmt: skip


@dataclass(frozen=True)
class Finding:
    """One result of the examination.

    Attributes:
        topic: what was examined.
        value: the result.
        level: "ok", "warning", or "broken" (nothing can run).
        fix: how to mend it.
    """

    topic: str
    value: str
    level: Level = "ok"
    fix: str = ""


@click.command("doctor", short_help="Check the installation and the machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@traceback_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Show versions, providers, processor, memory and caches, with a fix for each problem. Exit code 1 if broken."""
    findings = []
    for finding in examine():
        findings.append(finding)
        if not as_json:
            mark = "" if finding.level == "ok" else f"{finding.level}: "
            echo(printable(f"{finding.topic:<15} {mark}{finding.value}"))
            if finding.fix:
                echo(f"{'':<15} fix: {finding.fix}")
    broken = any(finding.level == "broken" for finding in findings)
    if as_json:
        document = {"ok": not broken, "findings": [asdict(finding) for finding in findings]}
        echo(json_text(document, indent=2))
    ctx.exit(1 if broken else 0)


def examine() -> Iterator[Finding]:
    """Examine packages, ONNX Runtime, processor, memory, caches and the optional parts, one after the other."""
    yield Finding("python", f"{platform.python_version()}, {platform.platform()}")
    for name in _PACKAGES:
        yield _package(name)
    yield from _onnxruntime()
    yield from _processor()
    yield _memory()
    yield from _caches()
    yield _optional("pillow", "image tasks", "vision")
    yield _optional("av", "video tasks", "video")
    yield _exporter()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _package(name: str) -> Finding:
    version = _version(name)
    if version is None:
        return Finding(name, "not installed", "broken", f"pip install {name}")
    return Finding(name, version)


def _onnxruntime() -> Iterator[Finding]:
    from onnxpipe.engine.runtime import import_onnxruntime

    installed = {name: version for name in _RUNTIMES if (version := _version(name))}
    listed = ", ".join(f"{name} {version}" for name, version in installed.items())
    if len(installed) > 1:
        yield Finding(
            "distributions", f"{listed}: they overwrite each other's files", "warning",
            f"pip uninstall -y {' '.join(installed)} && pip install {_keep(installed)}",
        )  # fmt: skip
    else:
        yield Finding("distributions", listed or "pip lists no onnxruntime wheel")
    try:
        runtime = import_onnxruntime()
        providers = list(runtime.get_available_providers())
    except Exception as error:
        yield Finding("onnxruntime", describe(error), "broken", 'pip install "onnxpipe[cpu]" (or "onnxpipe[gpu]")')
        return
    yield Finding("onnxruntime", str(runtime.__version__))
    yield Finding("providers", ", ".join(providers))
    yield from _plugins()
    yield _cuda(providers, "onnxruntime-gpu" in installed)
    off = os.environ.get("ORT_DISABLE_TELEMETRY") == "1"
    yield Finding("telemetry", "off") if off else Finding("telemetry", "on", "warning", "set ORT_DISABLE_TELEMETRY=1")


def _plugins() -> Iterator[Finding]:
    """List the devices of the installed execution providers, as `device=` names them."""
    from onnxpipe.engine.plugins import describe as describe_device
    from onnxpipe.engine.plugins import plugins

    for plugin in plugins():
        try:
            found = [f"device={plugin.name}:{i}: {describe_device(each)}" for i, each in enumerate(plugin.devices())]
        except Exception as error:
            yield Finding(plugin.name, describe(error), "warning")
            continue
        yield Finding(plugin.name, "; ".join(found) or f"{plugin.provider} runs on nothing of this machine")


def _keep(installed: dict[str, str]) -> str:
    return next((name for name in installed if name != "onnxruntime"), "onnxruntime")


def _cuda(providers: list[str], wheel: bool) -> Finding:
    from onnxpipe.engine.cuda import cuda_problem

    if "CUDAExecutionProvider" not in providers:
        if wheel:
            return Finding(
                "cuda", "onnxruntime-gpu is installed, but its files were overwritten", "warning",
                "pip install --force-reinstall --no-deps onnxruntime-gpu",
            )  # fmt: skip
        return Finding("cuda", 'not in this build of ONNX Runtime (pip install "onnxpipe[gpu]" has it)')
    problem = cuda_problem() or run_problem()
    return Finding("cuda", "works: a graph ran on it") if problem is None else Finding("cuda", problem, "warning")


def _processor() -> Iterator[Finding]:
    from onnxpipe.bundle.precision import MADE_FOR, for_this_processor
    from onnxpipe.engine.threads import available_threads, cgroup_quota

    features = machine.cpu_features()
    yield Finding("cpu", machine.cpu_model())
    if features:
        dot = [name for name in features if "vnni" in name or name in ("asimddp", "i8mm", "amx_int8")]
        slow = "" if dot else "; no 8-bit dot products, so int8 is hardly faster than fp32 here"
        yield Finding("cpu features", ", ".join(features) + slow)
    first = for_this_processor()[0]
    yield Finding("8-bit files", f"of files made for processors, dtype=int8 takes {first}: made for {MADE_FOR[first]}")
    quota = cgroup_quota()
    allowed = f"{machine.affinity()} of {os.cpu_count()} allowed"
    yield Finding("cores", f"{allowed}, container quota {'none' if quota is None else f'{quota:g}'}")
    yield Finding("threads", f"{available_threads()} will be used")


def _memory() -> Finding:
    from onnxpipe.engine.memory import machine_memory, memory_limit

    total, limit = machine_memory(), memory_limit()
    size = f"{total / 1e9:.1f} GB" if total else "unknown"
    return Finding("memory", f"{size}, container limit {f'{limit / 1e9:.1f} GB' if limit else 'none'}")


def _caches() -> Iterator[Finding]:
    from huggingface_hub.constants import HF_HUB_CACHE

    from onnxpipe.models.tuning import cache_home

    for topic, folder, variable in (
        ("hub cache", Path(HF_HUB_CACHE), "HF_HOME"),
        ("export cache", cache_home(), "ONNXPIPE_CACHE"),
    ):
        size = f"{machine.folder_size(folder) / 1e6:.1f} MB" if folder.is_dir() else "not there yet"
        if machine.writable(folder):
            yield Finding(topic, f"{folder}, {size}, writable")
        else:
            yield Finding(topic, f"{folder}, {size}, not writable", "warning", f"set {variable} to a folder that is")


def _optional(package: str, purpose: str, extra: str) -> Finding:
    version = _version(package)
    return Finding(package, version or f'not installed; for {purpose}: pip install "onnxpipe[{extra}]"')


def _exporter() -> Finding:
    versions = {name: _version(name) for name in _EXPORTER}
    missing = [name for name, version in versions.items() if version is None]
    if missing:
        return Finding("exporter", f'not installed ({", ".join(missing)} missing): pip install "onnxpipe[export]"')
    return Finding("exporter", ", ".join(f"{name} {version}" for name, version in versions.items()))
