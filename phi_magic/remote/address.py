"""The name of a model on a server: ``http(s)://HOST:PORT/v1#NAME``."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from ..errors import PhiError


@dataclass(frozen=True)
class Address:
    """Where a server is, and which of its models is meant.

    Attributes:
        base: the address below which the OpenAI-compatible paths are; it ends with ``/v1`` or what the user wrote.
        name: the model's name there; empty: the only one that there is.
    """

    base: str
    name: str = ""

    @property
    def root(self) -> str:
        """The address below which the server's own paths are."""
        return self.base.removesuffix("/v1")

    @property
    def local(self) -> bool:
        """Whether the server is on this machine, where no proxy stands between."""
        host = urlsplit(self.base).hostname or ""
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def parse(model: str) -> Address:
    """Read the name of a model on a server.

    Raises:
        PhiError: it cannot be an address; or it holds a password or a key, which would be recorded with every answer.
    """
    try:
        parts = urlsplit(model)
        valid = bool(parts.hostname) and (parts.port is None or parts.port > 0) and model.isprintable()
    except ValueError:  # a port that is none, half of an IPv6 address
        valid = False
    if not valid or " " in model:
        raise PhiError("this is no server's address; write http://HOST:PORT/v1#NAME")
    if parts.username or parts.password or parts.query:
        raise PhiError(
            "a server's address holds no password and no key: set PHI_MAGIC_API_KEY in the environment instead"
        )
    path = parts.path.rstrip("/") or "/v1"
    return Address(urlunsplit((parts.scheme.lower(), parts.netloc, path, "", "")), parts.fragment)
