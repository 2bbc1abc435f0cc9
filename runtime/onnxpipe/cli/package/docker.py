"""Write the folder from which Docker builds an image that serves a bundle."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from onnxpipe.cli.package.contents import Content, copy_package, requirements

_MODEL = "/srv/model"
_HEALTH = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health', timeout=2)"


def write_docker(content: Content, target: Path, *, mount: bool) -> list[str]:
    """Write a Dockerfile, compose.yaml, and all that they copy.

    Args:
        content: the bundle.
        target: an empty folder.
        mount: leave the model out of the image: it is mounted where the image runs.

    Returns:
        The lines that build and start it.
    """
    copy_package(target)
    lines = requirements(content.task, "serve")
    (target / "requirements.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    if not mount:
        content.copy_to(target / "model")
    (target / "Dockerfile").write_text(_dockerfile(content, mount), encoding="utf-8")
    (target / "compose.yaml").write_text(_compose(content, mount), encoding="utf-8")
    return [f"cd {target}", "export ONNXPIPE_API_KEY=change-me", "docker compose up --build"]


def _dockerfile(content: Content, mount: bool) -> str:
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    package = f"/opt/onnxpipe/lib/python{python}/site-packages/onnxpipe"
    served = f"{content.name}={_MODEL}:{content.task.name}"
    command = ["python", "-m", "onnxpipe", "serve", served, "--host", "0.0.0.0", "--dtype", content.dtype]
    model = [] if mount else [f"COPY model {_MODEL}"]
    return "\n".join([
        f"FROM python:{python}-slim AS build",
        "COPY requirements.txt /",
        "RUN python -m venv /opt/onnxpipe && /opt/onnxpipe/bin/pip install --no-cache-dir -r /requirements.txt",
        f"COPY onnxpipe {package}",
        "# a container that may not write would compile it at every start",
        f"RUN /opt/onnxpipe/bin/python -m compileall -q --invalidation-mode unchecked-hash {package}",
        "",
        f"FROM python:{python}-slim",
        "RUN useradd --system --uid 10001 --no-create-home onnxpipe",
        "COPY --from=build /opt/onnxpipe /opt/onnxpipe",
        *model,
        "ENV PATH=/opt/onnxpipe/bin:$PATH HF_HUB_OFFLINE=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        "USER 10001",
        "EXPOSE 8000",
        "# 143: ended by SIGTERM, after what was accepted had been answered",
        "STOPSIGNAL SIGTERM",
        f"HEALTHCHECK --interval=10s --timeout=3s --start-period=60s CMD {json.dumps(['python', '-c', _HEALTH])}",
        f"ENTRYPOINT {json.dumps(command)}",
        "",
    ])  # fmt: skip


def _compose(content: Content, mount: bool) -> str:
    folder = json.dumps(f"${{MODEL:-{content.bundle.folder.resolve()}}}:{_MODEL}:ro")
    volumes = [f"    volumes: [{folder}]"] if mount else []
    return "\n".join([
        "services:",
        f"  {content.name}:",
        "    build: .",
        '    ports: ["8000:8000"]',
        "    environment:",
        '      ONNXPIPE_API_KEY: "${ONNXPIPE_API_KEY:?a key that requests must have}"',
        *volumes,
        "    read_only: true",
        "    tmpfs: [/tmp]",
        "    cap_drop: [ALL]",
        "    security_opt: [no-new-privileges:true]",
        "    # longer than the server's own --drain",
        "    stop_grace_period: 45s",
        "",
    ])  # fmt: skip
