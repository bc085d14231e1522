"""A model hub on this machine that keeps what is uploaded to it: the part of its interface that an upload uses."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Hub(ThreadingHTTPServer):
    """The hub.

    Attributes:
        repositories: What was asked for when one was made, by id.
        files: What was committed, by repository and path.
        tokens: The tokens of all requests.
        refusal: Status and message of the answer to every commit; None to take it.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories: dict[str, dict[str, Any]] = {}
        self.files: dict[str, dict[str, bytes]] = {}
        self.tokens: set[str] = set()
        self.refusal: tuple[int, str] | None = None

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextmanager
def model_hub() -> Iterator[Hub]:
    """A hub during the block."""
    with Hub() as hub:
        thread = threading.Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield hub
        finally:
            hub.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.tokens.add(self.headers.get("Authorization", ""))
        _, _, *place = self.path.partition("?")[0].split("/")  # "", "api", ...
        if place == ["repos", "create"]:
            asked = json.loads(body)
            name = f"{asked['organization']}/{asked['name']}"
            self.server.repositories[name] = asked
            self._answer({"url": f"{self.server.address}/{name}"})
        elif place == ["validate-yaml"]:
            self._answer({})
        elif place[3] == "preupload":
            paths = [file["path"] for file in json.loads(body)["files"]]
            told = [{"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for path in paths]
            self._answer({"files": told})
        elif self.server.refusal:
            self._answer({"error": self.server.refusal[1]}, self.server.refusal[0])
        else:
            self._keep(f"{place[1]}/{place[2]}", body)

    def _keep(self, repository: str, body: bytes) -> None:
        files = self.server.files.setdefault(repository, {})
        for line in map(json.loads, body.splitlines()):
            if line["key"] == "file":
                files[line["value"]["path"]] = base64.b64decode(line["value"]["content"])
        self._answer({"commitUrl": f"{self.server.address}/{repository}/commit/0", "commitOid": "0", "success": True})

    def _answer(self, value: Any, status: int = 200) -> None:
        content = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: Any) -> None:
        """Nothing."""
