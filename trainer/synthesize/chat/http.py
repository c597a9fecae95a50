"""One JSON request over HTTP with a deadline that holds however slowly the other side drips, and that can be broken off.

The standard library's client: a run makes a few requests a second at most, each on its own connection.
"""

import contextlib
import http.client
import json
import socket
import ssl
import threading
import time
import urllib.request
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from trainer.errors import InputError

MAX_REPLY_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True)
class HttpReply:
    status: int
    headers: dict[str, str]  # lower-cased names
    body: bytes


class Http:
    """Requests to one base URL; `close` ends those under way from any thread. HTTPS proxies of the environment are used."""

    def __init__(self, base_url: str, headers: dict[str, str], timeout_seconds: float) -> None:
        self.url = urlsplit(base_url.rstrip("/"))
        if self.url.scheme not in ("http", "https") or not self.url.hostname:
            raise InputError(f"--llm-base-url {base_url!r} is no http or https URL")
        self.headers, self.timeout_seconds = headers, timeout_seconds
        self._live: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._closed = False

    def request(self, method: str, path: str, body: Any = None) -> HttpReply:
        """Raises OSError (TimeoutError past the deadline) or http.client.HTTPException when no whole answer came."""
        deadline = time.monotonic() + self.timeout_seconds
        content = None if body is None else json.dumps(body).encode()
        connection = self._connect()
        try:
            connection.connect()
            live = self._register(connection.sock)
            connection.request(method, self.url.path + path, content, {"content-type": "application/json", **self.headers})
            response = connection.getresponse()
            names = {name.lower(): value for name, value in response.getheaders()}
            return HttpReply(response.status, names, _read(live, response, deadline))
        finally:
            with self._lock:
                self._live = {item for item in self._live if item.fileno() >= 0 and item is not connection.sock}
            connection.close()

    def close(self) -> None:
        """End the requests under way and refuse new ones."""
        with self._lock:
            self._closed = True
            for live in self._live:
                with contextlib.suppress(OSError):  # the other side was faster
                    live.shutdown(socket.SHUT_RDWR)

    def _register(self, live: socket.socket) -> socket.socket:
        with self._lock:
            if self._closed:
                raise ConnectionAbortedError("the client is closed")
            self._live.add(live)
        return live

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self.url.hostname or "", self.url.port
        if self.url.scheme == "http":
            return http.client.HTTPConnection(host, port, timeout=self.timeout_seconds)
        context = ssl.create_default_context()
        proxy = urllib.request.getproxies().get("https")
        if not proxy or urllib.request.proxy_bypass(host):
            return http.client.HTTPSConnection(host, port, timeout=self.timeout_seconds, context=context)
        through = urlsplit(proxy)
        connection = http.client.HTTPSConnection(through.hostname or "", through.port, timeout=self.timeout_seconds, context=context)
        connection.set_tunnel(host, port or 443)
        return connection


def _read(live: socket.socket, response: http.client.HTTPResponse, deadline: float) -> bytes:
    """The whole body; each wait for a piece of it is cut at the deadline."""
    pieces, size = [], 0
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the answer was not complete in time")
        if live.fileno() >= 0:
            live.settimeout(left)
        piece = response.read1(65536)
        if not piece:
            break
        pieces.append(piece)
        size += len(piece)
        if size > MAX_REPLY_BYTES:
            raise http.client.HTTPException(f"the answer is longer than {MAX_REPLY_BYTES} bytes")
    if response.length:
        raise http.client.IncompleteRead(b"".join(pieces), response.length)
    return b"".join(pieces)
