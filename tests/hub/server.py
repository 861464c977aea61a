"""A Hugging Face hub on the loopback, as far as downloading a model needs one, that fails on demand.

    with Hub() as hub:
        hub.add("owner/repo", "model.gguf", path)
        hub.fail(status=429, headers={"Retry-After": "1"})
        hub.url, hub.requests

Small enough to read beside huggingface_hub, and strict where the real one is: errors carry its X-Error-Code, a file
is described by the hub and served by another host (here: another name of this one), which must not see the token.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import threading
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class File:
    path: Path
    sha256: str
    size: int


@dataclass
class Request:
    method: str
    path: str
    host: str
    headers: Message  # looked up in any case


@dataclass
class Fault:
    """What to do instead of answering well: a status, a cut or a pause after so many bytes of the body, rubbish."""

    times: int
    method: str
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None
    stall: int | None = None
    rubbish: bool = False


class Hub:
    """Serves the files that were added, on 127.0.0.1; `requests` lists all that was asked."""

    def __init__(self):
        self.files: dict[tuple[str, str], File] = {}
        self.gated: set[str] = set()
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.ranges = True
        self.listing: bytes | None = None  # what it answers for the list of a repository's files, in place of the list
        self.released = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.storage = f"http://localhost:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *exc_info):
        self.go_away()

    def go_away(self):
        """Stop answering; connections are refused from now on."""
        self.released.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def add(self, repo_id, filename, path, *, gated=False, sha256=None, size=None):
        """Publish the file at `path`; `sha256` and `size` let the hub tell an untruth about it."""
        content = Path(path).read_bytes()
        self.files[repo_id, filename] = File(
            Path(path), sha256 or hashlib.sha256(content).hexdigest(), len(content) if size is None else size
        )
        if gated:
            self.gated.add(repo_id)

    def fail(self, *, times=1, method="GET", **fault):
        """Make the next `times` requests of `method` for a file go wrong; see `Fault`. Faults are used up in order."""
        self.faults.append(Fault(times, method, **fault))

    def asked(self, method):
        """The requests of `method`."""
        return [request for request in self.requests if request.method == method]


def _handler(hub):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args):
            pass

        def do_HEAD(self):
            self.answer()

        def do_GET(self):
            self.answer()

        def answer(self):
            path = unquote(urlsplit(self.path).path)
            hub.requests.append(Request(self.command, path, self.headers["Host"], self.headers))
            if match := re.fullmatch(r"/(?P<repo>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<file>.+)", path):
                self.describe(match["repo"], match["file"])
            elif match := re.fullmatch(r"/storage/(?P<repo>[^/]+/[^/]+)/(?P<file>.+)", path):
                self.serve(hub.files[match["repo"], match["file"]])
            elif match := re.fullmatch(r"/api/models/(?P<repo>[^/]+/[^/]+)(/tree/[^/]+)?", path):
                self.tree(match["repo"], path)
            else:
                self.refuse(404)

        def fault(self):
            for fault in hub.faults:
                if fault.times and fault.method == self.command:
                    fault.times -= 1
                    return fault
            return None

        def describe(self, repo, name):
            """What the hub itself says of a file: where it lies, its size and its digest."""
            fault = (self.fault() if self.command == "HEAD" else None) or Fault(0, "HEAD")
            token = self.headers["Authorization"]
            file = hub.files.get((repo, name))
            if all(repo != known for known, _ in hub.files):
                self.refuse(401, "RepoNotFound")
            elif repo in hub.gated and token != "Bearer accepted":
                self.refuse(403 if token else 401, "GatedRepo")
            elif file is None:
                self.refuse(404, "EntryNotFound", {"X-Repo-Commit": COMMIT})
            elif fault.rubbish:
                self.send(200, b"<!doctype html><title>Welcome</title>", "text/html")
            elif fault.status:
                self.refuse(fault.status, headers=fault.headers)
            else:
                self.send(
                    302,
                    headers={
                        "Location": f"{hub.storage}/storage/{repo}/{name}",
                        "X-Repo-Commit": COMMIT,
                        "X-Linked-Etag": f'"{file.sha256}"',
                        "X-Linked-Size": str(file.size),
                    },
                )

        def serve(self, file):
            """The bytes, from the storage."""
            fault = self.fault() or Fault(0, "GET")
            if fault.status:
                self.refuse(fault.status, headers=fault.headers)
                return
            content = file.path.read_bytes()
            asked = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "") if hub.ranges else None
            start = int(asked[1]) if asked else 0
            self.send_response(206 if asked else 200)
            if asked:
                self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Length", str(len(content) - start))
            self.end_headers()
            stop = min((at for at in (fault.cut, fault.stall) if at is not None), default=len(content) - start)
            try:
                self.wfile.write(content[start : start + stop])
                if fault.stall is not None:
                    hub.released.wait(60)
                if start + stop < len(content):
                    self.connection.shutdown(socket.SHUT_RDWR)
                    self.close_connection = True
            except OSError:  # the client gave up first
                self.close_connection = True

        def tree(self, repo, path):
            files = [(name, file) for (known, name), file in hub.files.items() if known == repo]
            if not files:
                self.refuse(401, "RepoNotFound")
            elif hub.listing is not None:
                self.send(200, hub.listing, "application/json")
            elif "/tree/" in path:
                listing = [{"type": "file", "oid": "0" * 40, "size": f.size, "path": name} for name, f in files]
                self.send(200, json.dumps(listing).encode(), "application/json")
            else:
                listing = {"id": repo, "sha": COMMIT, "siblings": [{"rfilename": name} for name, _ in files]}
                self.send(200, json.dumps(listing).encode(), "application/json")

        def refuse(self, status, code="", headers=None):
            self.send(status, headers={**({"X-Error-Code": code} if code else {}), **(headers or {})})

        def send(self, status, body=b"", kind="text/plain", headers=None):
            self.send_response(status)
            for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    return Handler
