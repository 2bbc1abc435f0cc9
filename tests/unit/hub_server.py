"""A small server that answers as the Hub does; `hub` in conftest.py starts it for a test."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

#: Branch or tag to commit.
COMMIT = {"main": "1" * 40, "v2": "2" * 40}
#: Repository to its files.
REPOS: dict[str, dict[str, bytes]] = {}
#: Repository to what its card says.
CARDS: dict[str, dict[str, Any]] = {}


class Hub(ThreadingHTTPServer):
    """Serve the endpoints of the Hub that huggingface_hub uses for downloads, and list its requests."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.log: list[tuple[str, str, str | None]] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def downloaded(self) -> set[str]:
        """Files that were sent, and the log emptied."""
        sent = {
            path.split("/resolve/")[1].split("/", 1)[1]
            for method, path, _ in self.log
            if "/resolve/" in path and method == "GET"
        }
        self.log.clear()
        return sent


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self.answer(False)

    def do_GET(self) -> None:
        self.answer(True)

    def answer(self, with_body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append((self.command, path, self.headers.get("Authorization")))
        parts = path.removeprefix("/api/models/").strip("/").split("/")
        repo = "/".join(parts[:2])
        files = REPOS.get(repo)
        if files is None or (repo == "a/private" and self.headers.get("Authorization") != "Bearer hf_secret"):
            return self.send(404 if repo != "a/gated" else 403, "RepoNotFound" if repo != "a/gated" else "GatedRepo")
        kind, rest = (parts[2], parts[3:]) if len(parts) > 2 else ("revision", ["main"])
        commit = COMMIT.get(rest[0]) or (rest[0] if rest[0] in COMMIT.values() else None)
        if commit is None:
            return self.send(404, "RevisionNotFound")
        if kind == "resolve":
            return self.send_file(files.get("/".join(rest[1:])), commit, with_body)
        if kind == "tree":
            entries: Any = [
                {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
                for name, content in files.items()
            ]
        else:
            siblings = [{"rfilename": name} for name in files]
            entries = {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings, "private": False, "tags": []}
            if "blobs=" in self.path:
                entries["siblings"] = [{"rfilename": name, "size": len(content)} for name, content in files.items()]
            if repo in CARDS:
                entries["cardData"] = CARDS[repo]
        return self.send(200, None, json.dumps(entries).encode(), {"Content-Type": "application/json"})

    def send_file(self, content: bytes | None, commit: str, with_body: bool) -> None:
        if content is None:
            return self.send(404, "EntryNotFound")
        headers = {"X-Repo-Commit": commit, "ETag": f'"{hashlib.sha256(content).hexdigest()}"'}
        return self.send(200, None, content, headers, with_body)

    def send(
        self, status: int, code: str | None, content: bytes = b"", headers: Any = (), with_body: bool = True
    ) -> None:
        self.send_response(status)
        for name, value in {**dict(headers), **({"X-Error-Code": code} if code else {})}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if with_body and self.command == "GET":
            self.wfile.write(content)

    def log_message(self, format: str, *args: Any) -> None:
        """Silence."""


@contextmanager
def serve(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """Run the server, and let huggingface_hub take it for the Hub, with an empty cache."""
    from huggingface_hub import constants, file_download

    server = Hub()
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
    for module in (constants, file_download):  # versions before 1.0 have it in both
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.shutdown()
    server.server_close()
