"""Requests to one server: JSON, server-sent events, tries again while it is busy, and every error as one line.

The key in ``PHI_MAGIC_API_KEY`` goes into the header of requests to this server and nowhere else: redirects are not
followed, a proxy that could read it is not used, and what a server says is shown without the key.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import msgspec

from ..errors import PhiError
from ..models.retry import LONGEST_WAIT, PASSING, PATIENCE
from .address import Address
from .said import KEY, MOST_EVENT, Said, decoded, deep, events, quoted, shown, too_long

CONNECT = 10.0  # seconds until a server that does not answer is not there
SILENCE = 600.0  # seconds without an answer until a server is given up; reading a long prompt takes minutes
GLANCE = 5.0  # seconds that a server has to say of what kind it is
MOST_TOKEN = 64 << 10  # bytes of a stream for each token of the longest answer; with 20 alternatives it takes 3,000
_AUTHORITIES = ("SSL_CERT_FILE", "SSL_CERT_DIR")
_DEEPEST = 32  # levels of what a server says of itself
MOST_BODY = 256 << 20  # bytes of an answer that is not a stream: the log-probabilities of a large vocabulary


class Refused(PhiError):
    """The server answered, with a status that says no."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status

    def __reduce__(self) -> tuple[type[Refused], tuple[str, int]]:
        return type(self), (str(self), self.status)


class Client:
    """What asks one server, within an event loop; to be used as an asynchronous context.

    Args:
        address: which server.
        tell: told in a few words why an answer takes longer.
    """

    def __init__(self, address: Address, tell: Callable[[str], None]) -> None:
        library = http()
        self.base = address.base
        self._tell = tell
        self._library = library
        self._session = library.AsyncClient(
            headers=_headers(),
            verify=_certificates() if address.base.startswith("https:") else False,
            trust_env=_proxied(address),
            limits=library.Limits(max_connections=None),
        )

    async def __aenter__(self) -> Client:  # noqa: PYI034 (Self is of Python 3.11)
        await self._session.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._session.__aexit__(*error)

    async def get(self, url: str, *, patience: int = PATIENCE, silence: float | None = None) -> Any:
        """Return the JSON that a server gives, of whatever form.

        Args:
            patience: how many times it is asked again while it is busy.
            silence: seconds without a byte until it is given up; the usual ones where left out.
        """
        content = await self._content("GET", url, None, patience, silence)
        try:
            said: Any = decoded(content, Any)
        except msgspec.DecodeError:
            raise PhiError(f"{self.base}: sends what is not JSON{quoted(content)}; is the address right?") from None
        if deep(said, _DEEPEST):
            raise PhiError(f"{self.base}: sends JSON of more than {_DEEPEST} levels, as no server does")
        return said

    async def post(self, url: str, body: Any, kind: type[Said], *, patience: int = PATIENCE) -> Said:
        """Return what a server answers to JSON, as the type that it is to have."""
        content = await self._content("POST", url, body, patience, None)
        try:
            return decoded(content, kind)
        except msgspec.DecodeError as error:
            where = url.rpartition("/")[2]
            raise PhiError(f"{self.base}: sends what is no answer to /{where} ({error}){quoted(content)}") from None

    async def stream(self, url: str, body: Any, *, tokens: int) -> AsyncGenerator[bytes, None]:
        """Yield the data of every event of a stream, without its end mark.

        Args:
            tokens: the most that the answer may have.

        Raises:
            PhiError: the server says no, breaks off, does not end, or sends what is no stream of events.
        """
        async with self._opened("POST", url, body, PATIENCE, None) as response:
            kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            if kind != "text/event-stream":
                said = quoted(await _body(response, MOST_EVENT))
                raise PhiError(f"{self.base}: sends {kind or 'nothing'} instead of an answer piece by piece{said}")
            most = 2 * MOST_EVENT + tokens * MOST_TOKEN
            async for data in events(response.aiter_bytes(), self.base, most=most, silence=SILENCE):
                if data.strip() == b"[DONE]":
                    return
                yield data

    async def _content(self, method: str, url: str, body: Any, patience: int, silence: float | None) -> bytes:
        async with self._opened(method, url, body, patience, silence) as response:
            return await _body(response, MOST_BODY)

    @asynccontextmanager
    async def _opened(
        self, method: str, url: str, body: Any, patience: int, silence: float | None
    ) -> AsyncIterator[Any]:
        """A response whose status says yes, with whatever goes wrong in it as one line."""
        library = self._library
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        timeout = library.Timeout(silence or SILENCE, connect=min(silence or CONNECT, CONNECT))

        def build() -> Any:
            return self._session.build_request(method, url, content=content, headers=headers, timeout=timeout)

        try:
            async with self._accepted(build, patience) as response:
                yield response
        except library.ConnectError as error:
            if "CERTIFICATE" in str(error):
                raise PhiError(
                    f"{self.base}: its TLS certificate is not trusted ({shown(str(error))}); nothing was sent. Where it is "
                    "your own authority's, name the authority's file in the environment variable SSL_CERT_FILE"
                ) from None
            raise PhiError(f"{self.base}: no server answers there ({shown(str(error))}); is it running?") from None
        except library.ConnectTimeout:
            raise PhiError(f"{self.base}: no server answers there within {CONNECT:g} s; is it running?") from None
        except library.TimeoutException:
            raise PhiError(f"{self.base}: the server has said nothing for {silence or SILENCE:g} s") from None
        except (library.HTTPError, library.InvalidURL) as error:
            raise PhiError(f"{self.base}: the connection broke: {shown(str(error) or type(error).__name__)}") from None

    @asynccontextmanager
    async def _accepted(self, build: Callable[[], Any], patience: int) -> AsyncIterator[Any]:
        """The response to a request, which is sent again while the server is busy and nothing of an answer has come."""
        for pause in (*(2**tries for tries in range(patience)), None):
            wait = pause
            try:
                response = await self._session.send(build(), stream=True)
            except (self._library.ReadError, self._library.RemoteProtocolError):
                # nothing came; a server may have closed a connection that was kept for the next request
                if wait is None:
                    raise
                what = "the connection broke"
            else:
                if response.is_success:
                    break
                try:
                    asked = response.headers.get("Retry-After", "")
                    if pause is not None and asked.isdecimal():
                        wait = int(asked)
                    if wait is None or wait > LONGEST_WAIT or response.status_code not in PASSING:
                        raise await self._refusal(response)
                finally:
                    await response.aclose()
                what = f"the server answers {response.status_code}"
            self._tell(f"{what}; trying again in {wait} s")
            await asyncio.sleep(wait)
        try:
            yield response
        finally:
            await response.aclose()

    async def _refusal(self, response: Any) -> PhiError:
        status = response.status_code
        if 300 <= status < 400:
            where = shown(response.headers.get("Location", "another address"))
            return Refused(
                f"{self.base}: the server points to {where}, which is not followed; name it, if it is right", status
            )
        if status in {401, 403}:
            advice = (
                f"does not take the key in {KEY}"
                if os.environ.get(KEY)
                else f"wants a key: set {KEY} in the environment"
            )
            return Refused(f"{self.base}: the server answers {status} and {advice}", status)
        content = await _body(response, MOST_EVENT)
        return too_long(content) or Refused(f"{self.base}: the server answers {status}{quoted(content)}", status)


def http() -> Any:
    """The httpx that huggingface_hub brought: httpx2 since its version 2, httpx before."""
    return import_module("httpx2" if find_spec("httpx2") else "httpx")


def _certificates() -> Any:
    """The authorities that vouch for servers: the usual ones, or those that the environment names now."""
    try:
        return _named(*(os.environ.get(name) for name in _AUTHORITIES))
    except OSError as error:  # there is no such file, or it holds no certificate
        raise PhiError(f"{' or '.join(_AUTHORITIES)} names no file of certificates: {error}") from None


@cache
def _named(*_: str | None) -> Any:
    return http().create_ssl_context()


def _headers() -> dict[str, str]:
    key = os.environ.get(KEY, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise PhiError(f"{KEY} holds a character that no key has; set it again")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _proxied(address: Address) -> bool:
    """Whether the environment's proxy stands between: it reads what is sent by http, and so would read the key."""
    return not address.local and (address.base.startswith("https:") or not _headers())


async def _body(response: Any, most: int) -> bytes:
    """The content of a response, cut where it is longer than it may be."""
    content = bytearray()
    async for piece in response.aiter_bytes():
        content += piece
        if len(content) > most:
            break
    return bytes(content)
