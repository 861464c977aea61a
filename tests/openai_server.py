"""An OpenAI-compatible server on the loopback that answers as a test has told it to, in the ways of real ones."""

from __future__ import annotations

import json
import socket
import ssl
import struct
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: What real servers say at paths of their own.
DIALECTS = {
    "vLLM": {"/version": {"version": "0.33.0"}},
    "Ollama": {"/api/version": {"version": "0.12.11"}},
    "LM Studio": {"/api/v0/models": {"object": "list", "data": [{"id": "phi-4"}]}},
    "llama-server": {
        "/props": {"default_generation_settings": {"n_ctx": 4096}, "build_info": "b10016"},
        "/v1/models": {"data": [{"id": "phi-4", "meta": {"n_vocab": 4}}]},
        "/tokenize": {"tokens": []},
    },
    "unknown": {},
}

#: An event that closes the connection as a process does that is killed.
RESET = object()


def chunk(text="", *, finish=None, **delta):
    """One chunk of an answer, as all of them send it."""
    delta = {**delta, **({"content": text} if text else {})}
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def answer(*texts, finish="stop"):
    """A whole answer in pieces, with its counts at the end, as vLLM sends it."""
    usage = {"prompt_tokens": 7, "completion_tokens": len(texts), "prompt_tokens_details": {"cached_tokens": 2}}
    return [*map(chunk, texts), chunk(finish=finish), {"choices": [], "usage": usage}, "[DONE]"]


class OpenAIServer(ThreadingHTTPServer):
    """Serves on a free port of the loopback until it is closed.

    ``replies`` is what POST requests are answered with, one after another, the last one for ever: a list of events
    (JSON, text, bytes as they are, or a number of seconds to wait), a status with headers and a body,
    or bytes: status line and all.
    ``paths`` says what is answered at other paths, to GET and to POST; it may be computed from the body.
    """

    daemon_threads = True

    def __init__(self, dialect="vLLM", models=("phi-4",)):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "http"
        self.paths = {"/v1/models": {"object": "list", "data": [{"id": name} for name in models]}, **DIALECTS[dialect]}
        self.replies = [answer("Hello", " there")]
        self.asked = []
        self.keys = []
        self.at_once = self.most_at_once = 0
        self.left = threading.Event()
        self.lock = threading.Lock()
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    @property
    def url(self):
        return f"{self.scheme}://127.0.0.1:{self.server_port}/v1"

    def use_tls(self, certificate):
        """Speak https, with a PEM file that holds a certificate and its key."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.scheme = "https"

    def next_reply(self):
        with self.lock:
            return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]

    def handle_error(self, request, client_address):
        self.left.set()  # whoever asked has closed the connection


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments): ...

    def do_GET(self):
        self.server.keys.append(self.headers.get("Authorization"))
        said = self.server.paths.get(self.path)
        said = said(None) if callable(said) else said
        if isinstance(said, tuple):
            self.whole(*said)
        else:
            self.whole(200 if said is not None else 404, {}, said if said is not None else {"error": "no such path"})

    def do_POST(self):
        server = self.server
        server.keys.append(self.headers.get("Authorization"))
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path in server.paths:
            said = server.paths[self.path]
            self.whole(200, {}, said(body) if callable(said) else said)
            return
        with server.lock:
            server.asked.append((self.path, body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        reply = server.next_reply()
        try:
            if callable(reply):
                reply = reply(body)
            if isinstance(reply, tuple):
                self.whole(*reply)
            elif isinstance(reply, bytes):
                self.wfile.write(reply)
                self.close_connection = True
            else:
                self.events(reply)
        finally:
            with server.lock:
                server.at_once -= 1

    def whole(self, status, headers, body):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def events(self, events):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        for event in events:
            if isinstance(event, int | float):
                time.sleep(event)
            elif event is RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                for one in (self.rfile, self.wfile, self.connection):
                    one.close()
                return
            elif isinstance(event, bytes):
                self.wfile.write(event)
            else:
                text = event if isinstance(event, str) else json.dumps(event)
                self.wfile.write(f"data: {text}\n\n".encode())
            self.wfile.flush()
