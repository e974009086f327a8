"""A small server on 127.0.0.1 that answers as the Hub does, for what animask asks of it; and the environment for it."""

import base64
import hashlib
import json
import os
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NOWHERE = "http://127.0.0.1:9"  # the port of "discard": nothing listens there


@dataclass
class Repository:
    """Files by path; the revision `main` and the commit name the same state."""

    files: dict[str, bytes] = field(default_factory=dict)
    commit: str = COMMIT


class Hub(ThreadingHTTPServer):
    """Repositories, what was asked for, and how to misbehave.

    cut: the sizes after which the next downloads are broken off. lies: paths whose bytes come changed.
    tags: entity tags by path in place of the hash. status: answered to everything, if it is not zero.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repositories: dict[str, Repository] = {}
        self.log: list[str] = []
        self.ranges: list[str] = []
        self.cut: list[int] = []
        self.lies: set[str] = set()
        self.tags: dict[str, str] = {}
        self.status = 0
        self.uploads: dict[str, bytes] = {}
        self.created: list[dict[str, object]] = []
        self.delay = threading.Event()  # where it is set, downloads stop after their first bytes until it is cleared

    @property
    def url(self) -> str:
        """What HF_ENDPOINT is set to."""
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        """Nothing on stderr."""

    def answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        """Status, headers and, unless it is a HEAD request, the body."""
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, value: object, status: int = 200) -> None:
        """An answer of the programming interface."""
        self.answer(status, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def fail(self, status: int, code: str) -> None:
        """An error as the Hub marks it."""
        self.answer(status, headers={"X-Error-Code": code, "X-Error-Message": code})

    def parts(self) -> list[str]:
        """The path of the request; refuses it where the server is told to."""
        self.server.log.append(f"{self.command} {self.path}")
        return [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]

    def repository(self, owner: str, name: str, revision: str = "main") -> Repository | None:
        """The repository, or None after an answer that says what is not there."""
        found = self.server.repositories.get(f"{owner}/{name}")
        if self.server.status:
            self.answer(self.server.status)
        elif found is None:
            self.fail(404, "RepoNotFound")
        elif revision not in ("main", found.commit):
            self.fail(404, "RevisionNotFound")
        else:
            return found
        return None

    def do_GET(self) -> None:
        """Repository information and files."""
        parts = self.parts()
        if parts[:2] == ["api", "models"] and len(parts) >= 4:
            if repository := self.repository(*parts[2:4], *(parts[5:6])):
                name = "/".join(parts[2:4])
                siblings = [{"rfilename": path} for path in repository.files]
                self.json({"id": name, "modelId": name, "sha": repository.commit, "siblings": siblings, "tags": []})
        elif len(parts) >= 5 and parts[2] == "resolve":
            if repository := self.repository(*parts[:2], parts[3]):
                self.file(repository, "/".join(parts[4:]))
        else:
            self.answer(404)

    do_HEAD = do_GET

    def file(self, repository: Repository, path: str) -> None:
        """A file, or the part that is asked for."""
        if path not in repository.files:
            self.fail(404, "EntryNotFound")
            return
        body = repository.files[path]
        large = path.endswith((".safetensors", ".onnx"))
        digest = hashlib.sha256(body).hexdigest() if large else hashlib.sha1(body).hexdigest()
        headers = {"X-Repo-Commit": repository.commit, "ETag": f'"{self.server.tags.get(path, digest)}"'}
        headers |= {"Accept-Ranges": "bytes"}
        if path in self.server.lies:
            body = body[:-1] + bytes([body[-1] ^ 1])
        status, total = 200, len(body)
        if asked := self.headers.get("Range"):
            self.server.ranges.append(asked)
            start = int(asked.removeprefix("bytes=").split("-")[0])
            body, status = body[start:], 206
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
        if self.command == "GET" and large and (self.server.cut or self.server.delay.is_set()):
            self.break_off(status, body, headers)
        else:
            self.answer(status, body, headers)

    def break_off(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        """Promise the whole, send a part, and hang up; or wait before the rest."""
        waiting = self.server.delay.is_set()
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: len(body) // 2 if waiting else self.server.cut.pop(0)])
        self.wfile.flush()
        while self.server.delay.is_set():
            threading.Event().wait(0.02)
        self.close_connection = True

    def do_POST(self) -> None:
        """A new repository, and the steps of a commit."""
        parts = self.parts()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.status:
            self.answer(self.server.status)
        elif parts == ["api", "repos", "create"]:
            self.create(json.loads(body))
        elif parts == ["api", "validate-yaml"]:
            self.json({"errors": [], "warnings": []})
        elif parts[-2] == "preupload":
            files = [item["path"] for item in json.loads(body)["files"]]
            mode = {True: "lfs", False: "regular"}
            self.json({"files": [mode_of(path, mode) for path in files]})
        elif parts[-1] == "batch":
            self.batch(json.loads(body))
        elif parts[-2] == "commit":
            self.commit("/".join(parts[2:4]), body)
        else:
            self.answer(404)

    def create(self, wish: dict[str, object]) -> None:
        """A repository, unless it is there."""
        name = f"{wish['organization']}/{wish['name']}"
        self.server.created.append(wish)
        if name in self.server.repositories:
            self.json({"url": f"{self.server.url}/{name}", "error": "exists"}, 409)
            return
        self.server.repositories[name] = Repository()
        self.json({"url": f"{self.server.url}/{name}", "name": name})

    def batch(self, wish: dict[str, list[dict[str, object]]]) -> None:
        """Where large files are to be uploaded."""
        objects = [
            {**item, "actions": {"upload": {"href": f"{self.server.url}/upload/{item['oid']}"}}}
            for item in wish["objects"]
        ]
        self.json({"transfer": "basic", "objects": objects})

    def commit(self, name: str, body: bytes) -> None:
        """The lines of a commit: small files inside, large ones by their hash."""
        repository = self.server.repositories[name]
        for line in body.decode().splitlines():
            item = json.loads(line)
            value = item["value"]
            if item["key"] == "file":
                repository.files[value["path"]] = base64.b64decode(value["content"])
            elif item["key"] == "lfsFile":
                repository.files[value["path"]] = self.server.uploads[value["oid"]]
        url = f"{self.server.url}/{name}/commit/{repository.commit}"
        self.json({"success": True, "commitUrl": url, "commitOid": repository.commit})

    def do_PUT(self) -> None:
        """The bytes of a large file."""
        name = self.parts()[-1]
        self.server.uploads[name] = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(200)


def mode_of(path: str, mode: dict[bool, str]) -> dict[str, object]:
    """How a file is to be uploaded."""
    return {"path": path, "uploadMode": mode[path.endswith(".safetensors")], "shouldIgnore": False}


def environment(home: Path, url: str) -> dict[str, str]:
    """The variables of a child that takes `url` for the Hub and `home` for its cache."""
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGINGFACE_"))}
    return {
        **keep,
        "HF_HOME": str(home),
        "HF_ENDPOINT": url,
        "HF_TOKEN": "hf_test",
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_UPDATE_CHECK": "1",
        "OMP_NUM_THREADS": "1",
    }


def point_to(url: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this process take `url` for the Hub, as HF_ENDPOINT and HF_HOME would have before the first import."""
    values = {
        "ENDPOINT": url,
        "HUGGINGFACE_CO_URL_TEMPLATE": url + "/{repo_id}/resolve/{revision}/{filename}",
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_HUB_DISABLE_XET": True,
    }
    for name, value in values.items():
        for module in ("constants", "file_download"):  # older versions copy some of them, and do not have all
            monkeypatch.setattr(f"huggingface_hub.{module}.{name}", value, raising=False)
    monkeypatch.setenv("HF_TOKEN", "hf_test")
