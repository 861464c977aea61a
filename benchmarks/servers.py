"""What lies between a server and the caller, beside curl and a bare load generator: ``python -m benchmarks.servers``.

A server on the loopback writes the time into each piece of its answers, at the pace of a fast model. llama-server, which
``make llama-server`` builds, is asked by many at once.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from statistics import median, quantiles

import msgspec

from benchmarks import report, stand_in
from benchmarks.__main__ import FOLDER, insert
from phi_magic import Phi
from phi_magic.question import make_question
from phi_magic.remote.client import http
from phi_magic.remote.dialects import LLAMA_SERVER

DOCUMENT = Path(__file__).parent.parent / "docs" / "servers.md"
PROGRAM = Path(__file__).parent.parent / "build" / "llama-server" / "cmake" / "bin" / "llama-server"
#: Eight sequences at once keep two cores busy, and it loads within a second.
MODEL = stand_in.Shape(layers=8, embed=1024, feed_forward=2816, heads=16)
PACE = 0.01  # seconds between two pieces: a hundred tokens a second
STOPS = 20


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.servers", description=__doc__)
    parser.add_argument("--small", action="store_true", help="few and short answers, without llama-server")
    parser.add_argument("--rounds", type=int, default=3, help="how often both run, in turn (3)")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/servers.md")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(_serve(options.port))
        return 0
    load = os.getloadavg()[0]
    rows = list(_rows(options.small, options.rounds))
    text = f"{report.describe(report.machine(), [load, os.getloadavg()[0]], options.rounds)}\n\n" + "\n".join(
        ["| | | goal |", "| --- | ---: | ---: |", *rows]
    )
    print(text)
    if options.write:
        insert(DOCUMENT, "servers", text)
    return 0


def _rows(small: bool, rounds: int) -> Iterator[str]:
    pieces = 20 if small else 500
    with _running([sys.executable, "-m", "benchmarks.servers", "--serve"]) as url:
        delays = [1000 * one for _ in range(rounds) for one in _delays(url, pieces)]
        yield f"| a piece on its way from the server to the caller, ms, median | {median(delays):.2f} | 5 at most |"
        yield f"| the same, 99th percentile | {quantiles(delays, n=100)[98]:.2f} | 5 at most |"
        ours, curls = [], []
        for _ in range(rounds):
            ours.append(_timed_stream(url, pieces))
            curls.append(_timed_curl(url, pieces))
        more = 100 * (median(one / other for one, other in zip(ours, curls, strict=True)) - 1)
        seconds = f"{median(ours):.2f} s, {median(curls):.2f} s with `curl -N`"
        yield f"| {pieces} pieces ({seconds}), percent more | {more:.2f} | 2 at most |"
        stops = [1000 * _stopped(url) for _ in range(3 if small else STOPS)]
        yield f"| from a stop to the closed connection, ms, longest of {len(stops)} | {max(stops):.0f} | 250 at most |"
        if small:
            yield _throughput(url, rounds, questions=8, tokens=5)
            return
    with _running(_llama_server()) as url:
        yield _throughput(url, rounds, questions=48, tokens=24)


def _delays(url: str, pieces: int) -> list[float]:
    """Seconds from the moment at which a piece was sent to that at which the caller has it."""
    stream = Phi(model=url).stream("Go on", max_tokens=pieces)
    return [time.perf_counter() - float(piece) for piece in stream]


def _timed_stream(url: str, pieces: int) -> float:
    phi = Phi(model=url)
    begun = time.perf_counter()
    phi.stream("Go on", max_tokens=pieces).run()
    return time.perf_counter() - begun


def _timed_curl(url: str, pieces: int) -> float:
    curl = shutil.which("curl") or sys.exit("error: curl is missing")
    body = json.dumps({"max_tokens": pieces, "stream": True})
    command = [curl, "-N", "--silent", "--json", body, f"{url}/chat/completions"]
    begun = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - begun


def _stopped(url: str) -> float:
    """Seconds from a stop in mid-answer until the server sees the connection closed."""
    stream = Phi(model=url).stream("Go on", max_tokens=100_000)
    asked: list[float] = []

    def stop() -> None:
        asked.append(time.perf_counter())
        stream.stop()

    threading.Timer(0.1, stop).start()
    stream.run()
    while (closed := float(_get(f"{url}/closed"))) < asked[0]:
        time.sleep(0.01)
    return closed - asked[0]


def _throughput(url: str, rounds: int, *, questions: int, tokens: int) -> str:
    """A row: tokens a second of a map with 32 requests in flight, beside those of a bare load generator."""
    prompts = [f"Say whether the guest of table {number} was content with the soup" for number in range(questions)]
    phi = Phi(model=url, seed=1, max_tokens=tokens, in_flight=32)
    name = phi("Hello", max_tokens=1).engine["server_model"]
    bodies = [msgspec.json.encode(LLAMA_SERVER.chat(make_question(phi, prompt).request, name)) for prompt in prompts]
    ours, bare = [], []
    for _ in range(rounds):
        begun = time.perf_counter()
        replies = phi.map(prompts, progress=False)
        ours.append(sum(reply.usage.completion_tokens for reply in replies) / (time.perf_counter() - begun))
        begun = time.perf_counter()
        written = asyncio.run(_generate_load(f"{url}/chat/completions", bodies))
        bare.append(written / (time.perf_counter() - begun))
    share = median(one / other for one, other in zip(ours, bare, strict=True))
    rates = f"{median(ours):.0f} tokens/s, {median(bare):.0f} with a bare load generator"
    return f"| {questions} questions, 32 in flight ({rates}), share | {share:.2f} | 0.95 at least |"


async def _generate_load(url: str, bodies: list[bytes]) -> int:
    """Send requests, 32 at a time, and read the answers' bytes; returns the tokens that they have."""
    waiting = iter(bodies)
    headers = {"Content-Type": "application/json"}
    fresh = http().Limits(max_keepalive_connections=0)  # llama-server closes a connection after some requests
    async with http().AsyncClient(timeout=600, limits=fresh) as session:

        async def work() -> int:
            written = 0
            for body in waiting:
                async with session.stream("POST", url, content=body, headers=headers) as response:
                    content = b"".join([piece async for piece in response.aiter_raw()])
                usage = next(line for line in reversed(content.splitlines()) if b'"completion_tokens"' in line)
                written += json.loads(usage.removeprefix(b"data: "))["usage"]["completion_tokens"]
            return written

        return sum(await asyncio.gather(*(work() for _ in range(32))))


def _llama_server() -> list[str]:
    """The command that serves a stand-in to eight at once."""
    if not PROGRAM.exists():
        sys.exit("error: llama-server is not built: make llama-server")
    FOLDER.mkdir(parents=True, exist_ok=True)
    model = FOLDER / "served.gguf"
    vocabulary = stand_in.sources(PROGRAM.parents[2]) / "models" / "ggml-vocab-phi-3.gguf"
    stand_in.write(vocabulary, model, MODEL)
    return [str(PROGRAM), "--model", str(model), "--ctx-size", "4096", "--parallel", "8", "--log-disable"]


@contextmanager
def _running(command: list[str]) -> Iterator[str]:
    """Run a server until the block ends; yields its address."""
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}/v1"
    # threads that wait for one another give the cores to the client
    process = subprocess.Popen([*command, "--port", str(port)], env={**os.environ, "GOMP_SPINCOUNT": "2000"})
    try:
        for _ in range(600):
            try:
                _get(f"{url}/models")
                break
            except OSError:
                if process.poll() is not None:
                    sys.exit(f"error: {command[0]} ended with {process.returncode}")
                time.sleep(0.1)
        yield url
    finally:
        process.kill()
        process.wait()


def _get(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:  # noqa: S310 (the address is ours)
        content: bytes = response.read()
        return content


async def _serve(port: int) -> None:
    """Answer each question with the times at which its pieces are sent, until the process is killed."""
    closed = 0.0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal closed
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        if method == "GET":
            said = {"/v1/models": '{"data": [{"id": "clock"}]}', "/v1/closed": str(closed)}.get(path)
            _write(writer, "200 OK" if said else "404 Not Found", "application/json", said or "{}")
        else:
            length = next(line for line in head.lower().splitlines() if line.startswith("content-length:"))
            pieces = json.loads(await reader.readexactly(int(length.partition(":")[2])))["max_tokens"]
            _write(writer, "200 OK", "text/event-stream", "")
            gone = asyncio.create_task(reader.read())
            for _ in range(pieces):
                if gone.done():
                    closed = time.perf_counter()
                    break
                _event(writer, {"choices": [{"delta": {"content": f"{time.perf_counter():.6f} "}}]})
                await asyncio.wait([gone], timeout=PACE)
            else:
                _event(writer, {"choices": [{"delta": {}, "finish_reason": "stop"}]})
                _event(writer, {"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": pieces}})
                writer.write(b"data: [DONE]\n\n")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port)
    await server.serve_forever()


def _write(writer: asyncio.StreamWriter, status: str, kind: str, body: str) -> None:
    writer.write(f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nConnection: close\r\n\r\n{body}".encode())


def _event(writer: asyncio.StreamWriter, chunk: dict[str, object]) -> None:
    writer.write(f"data: {json.dumps(chunk)}\n\n".encode())


if __name__ == "__main__":
    sys.exit(main())
