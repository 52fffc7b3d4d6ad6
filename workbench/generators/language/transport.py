"""HTTP to a model server whose answers end: in time, and in size.

Everything here is for servers that do not behave: see `Bounded`.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from workbench.generators.language.servers import is_loopback


class TooMuch(ValueError):
    """An answer longer than allowed, or packed so that its length is unknown."""


class Bounded(httpx2.HTTPTransport):
    """HTTP whose answers end: within `seconds` of the request, headers included, and `most_bytes`.

    A time-out of the client counts from one byte to the next, so a byte now and then keeps it
    waiting for ever. Here a timer closes the connection, whatever the server does.
    """

    def __init__(self, address: str, seconds: float, most_bytes: int):
        parts = urlsplit(address)
        proxy = None
        if not is_loopback(address) and not proxy_bypass(parts.hostname or ""):
            proxy = getproxies().get(parts.scheme)
        # A connection serves one request, so that a late timer cannot meet the next one's
        limits = httpx2.Limits(max_keepalive_connections=0)
        super().__init__(limits=limits, proxy=proxy)
        self._seconds, self._most = seconds, most_bytes
        self._open: set[Connection] = set()
        self._lock = threading.Lock()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response, whose body raises TooMuch or a time-out while it is read."""
        connection = Connection(self._seconds)
        with self._lock:
            self._open.add(connection)
        request.extensions = {**request.extensions, "trace": connection.trace}
        request.headers["Accept-Encoding"] = "identity"
        try:
            response = super().handle_request(request)
        except httpx2.TransportError:
            self._end(connection)
            if connection.is_late:
                raise httpx2.ReadTimeout("too late", request=request) from None
            raise
        packed = response.headers.get("Content-Encoding", "identity") != "identity"
        response.stream = Body(self, connection, response.stream, 0 if packed else self._most)
        if packed:
            del response.headers["Content-Encoding"]
        return response

    def stop(self) -> None:
        """Closes the connections that are waiting for an answer; their requests fail at once."""
        with self._lock:
            waiting = list(self._open)
        for connection in waiting:
            connection.cut()

    def _end(self, connection: Connection) -> None:
        connection.timer.cancel()
        with self._lock:
            self._open.discard(connection)


class Connection:
    """The sockets of one request, and the timer that closes them."""

    def __init__(self, seconds: float):
        self._sockets: list[socket.socket] = []
        self._ends = time.monotonic() + seconds
        self._is_cut = False
        self.timer = threading.Timer(seconds, self.cut)
        self.timer.daemon = True
        self.timer.start()

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self._ends

    def trace(self, event: str, info: dict) -> None:
        """Keeps the socket of each stream that is opened (httpcore calls this at every step)."""
        if event.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._sockets.append(info["return_value"].get_extra_info("socket"))
            if self._is_cut:
                self.cut()

    def cut(self) -> None:
        self._is_cut = True
        for each in list(self._sockets):
            # Closing alone does not wake a thread that is reading
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class Body(httpx2.SyncByteStream):
    """The bytes of an answer, at most so many."""

    def __init__(self, owner: Bounded, connection: Connection, stream, most: int):
        self._owner, self._connection, self._stream, self._most = owner, connection, stream, most

    def __iter__(self) -> Iterator[bytes]:
        received = 0
        try:
            for part in self._stream:
                received += len(part)
                if received > self._most:
                    raise TooMuch
                yield part
        except httpx2.TransportError:
            if self._connection.is_late:
                raise httpx2.ReadTimeout("too late") from None
            raise
        # A body without a length ends where its connection does, also where the timer cut it
        if self._connection.is_late:
            raise httpx2.ReadTimeout("too late")

    def close(self) -> None:
        self._owner._end(self._connection)
        self._stream.close()
