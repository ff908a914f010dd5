"""Calls of a server's methods from other processes: FAISS's ``contrib.rpc``, without its ``pickle``.

FAISS's servers unpickle what a client sends, and run any method that it names. Here a message is JSON and the bytes of
arrays, which can hold nothing that is executed; a server runs the methods that it exposes, and no others. It listens on
this machine alone, unless it is told otherwise: there is neither encryption nor a password.

A message is the length of its JSON (8 bytes, little-endian), the JSON, and the arrays one after the other. The JSON is
``{"content": ..., "arrays": [[dtype, shape], ...]}``, where ``{"array": i}`` within the content stands for array i.
"""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from metalfaiss.errors import ArgumentError

__all__ = ["PORT", "Client", "ClientExit", "Server", "ServerException", "run_server"]

PORT = 12032

_MOST_JSON = 1 << 20  # bytes
_MOST_ARRAYS = 1 << 34
_DTYPES = frozenset(f"<{kind}{size}" for kind in "iu" for size in (2, 4, 8)) | {"<f2", "<f4", "<f8", "|u1", "|i1"}


class ClientExit(Exception):
    """The other side closed the connection between two messages."""


class ServerException(Exception):
    """A method of the server raised: the message says what."""


class _Channel:
    """A socket that messages go through."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock

    def send(self, content: Any) -> None:
        arrays: list[NDArray[Any]] = []
        text = json.dumps({"content": _plain(content, arrays), "arrays": [[a.dtype.str, a.shape] for a in arrays]})
        header = text.encode()
        _check_size("A message without its arrays", len(header), _MOST_JSON)
        self._sock.sendall(struct.pack("<Q", len(header)) + header)
        for array in arrays:
            self._sock.sendall(array.reshape(-1).view(np.uint8).data)

    def receive(self) -> Any:
        (length,) = struct.unpack("<Q", self._read(8, at_start=True))
        _check_size("A message without its arrays", length, _MOST_JSON)
        message = json.loads(self._read(length))
        forms = [(np.dtype(_known(dtype)), tuple(int(n) for n in shape)) for dtype, shape in message["arrays"]]
        sizes = [math.prod(shape) * dtype.itemsize for dtype, shape in forms]
        _check_size("The arrays of a message", sum(sizes), _MOST_ARRAYS)
        _check_size("Every array", min(sizes, default=0), _MOST_ARRAYS)
        arrays = [
            np.frombuffer(self._read(size), dtype=dtype).reshape(shape)
            for size, (dtype, shape) in zip(sizes, forms, strict=True)
        ]
        return _restored(message["content"], arrays)

    def _read(self, n: int, at_start: bool = False) -> bytearray:
        data = bytearray()
        while len(data) < n:
            piece = self._sock.recv(min(n - len(data), 1 << 20))
            if not piece and at_start and not data:
                raise ClientExit("the connection was closed")
            if not piece:
                raise EOFError(f"[rpc] A message must be complete. Received {len(data)} of {n} bytes.")
            data += piece
        return data

    def close(self) -> None:
        self._sock.close()


def _check_size(what: str, size: int, most: int) -> None:
    if not 0 <= size <= most:
        raise ArgumentError(f"[rpc] {what} must have at most {most} bytes. Received {size}.")


def _known(dtype: Any) -> str:
    if dtype not in _DTYPES:
        raise TypeError(f"[rpc] Arrays must hold numbers, of {', '.join(sorted(_DTYPES))}. Received {dtype!r}.")
    return str(dtype)


def _plain(value: Any, arrays: list[NDArray[Any]]) -> Any:
    """A value as JSON has it; its arrays go to ``arrays``."""
    if isinstance(value, np.ndarray):
        array = np.ascontiguousarray(value, dtype=value.dtype.newbyteorder("<"))
        _known(array.dtype.str)
        arrays.append(array.reshape(value.shape))
        return {"array": len(arrays) - 1}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, tuple | list):
        return [_plain(v, arrays) for v in value]
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"[rpc] Values must be numbers, strings, arrays, None or lists. Received {type(value).__name__}.")


def _restored(value: Any, arrays: list[NDArray[Any]]) -> Any:
    if isinstance(value, dict):
        return arrays[value["array"]]
    return tuple(_restored(v, arrays) for v in value) if isinstance(value, list) else value


class Server:
    """One connection of a server: its client may call the methods that ``exposed`` names.

    Args:
        s: the socket of the connection.
        logf: a text file for a line about each call, or None.
        log_prefix: what these lines begin with.
    """

    exposed: ClassVar[frozenset[str]] = frozenset()

    def __init__(self, s: socket.socket, logf: Any = None, log_prefix: str = "") -> None:
        self._channel = _Channel(s)
        self.logf, self.log_prefix = logf, log_prefix

    def log(self, s: str) -> None:
        """Writes a line."""
        if self.logf is not None:
            self.logf.write(f"Server log {self.log_prefix}: {s}\n")

    def one_function(self) -> None:
        """Answers one call: with what the method returns, or with the error that it raises.

        Raises:
            ClientExit: the client closed the connection.
            EOFError, ValueError, TypeError: the message is cut short, or none of this protocol.
        """
        name, args = self._channel.receive()
        self.log(f"executing method {name}")
        try:
            if name not in self.exposed:
                raise AttributeError(f"[Server] The method must be one of {sorted(self.exposed)}. Received {name!r}.")
            answer = (None, getattr(self, name)(*args))
            self._channel.send(answer)
        except OSError:
            raise
        except Exception as error:
            self.log(f"exception in method {name}: {error}")
            self._channel.send((f"{type(error).__name__}: {error}", None))

    def exec_loop(self) -> None:
        """Answers calls until the client closes the connection, or sends what is no message."""
        try:
            while True:
                self.one_function()
        except ClientExit as gone:
            self.log(f"ClientExit {gone}")
        except (EOFError, OSError, ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            self.log(f"connection ended: {error}")
        finally:
            self._channel.close()


class Client:
    """A connection to a server, whose methods can be called as those of this object.

    Args:
        HOST: the server's name or address.
        port: its port.
        v6: whether to use IPv6.

    Raises:
        OSError: there is no such server.
        ServerException: from a call, if the method raises.
    """

    def __init__(self, HOST: str, port: int = PORT, v6: bool = False) -> None:
        sock = socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM)
        sock.connect((HOST, port))
        self._channel = _Channel(sock)
        self._lock = threading.Lock()  # one call at a time

    def generic_fun(self, fname: str, args: tuple[Any, ...]) -> Any:
        """Calls a method of the server."""
        with self._lock:
            self._channel.send((fname, args))
            error, result = self._channel.receive()
        if error is not None:
            raise ServerException(error)
        return result

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *args: self.generic_fun(name, args)


def run_server(
    new_handler: Callable[[socket.socket], Server],
    port: int = PORT,
    report_to_file: str | None = None,
    v6: bool = False,
    host: str = "localhost",
) -> None:
    """Serves for ever, each connection in a thread.

    Args:
        new_handler: makes the server of a connection.
        port: where to listen; 0 for any free port.
        report_to_file: a file to write ``host:port`` to, once connections are accepted.
        v6: whether to use IPv6.
        host: the address to listen at; ``""`` stands for every address of this machine, where everybody who can reach
            it may call what the server exposes.

    Raises:
        OSError: the address cannot be had.
    """
    with socket.socket(socket.AF_INET6 if v6 else socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(5)
        if report_to_file is not None:
            with open(report_to_file, "w") as f:
                f.write(f"{host or socket.gethostname()}:{listener.getsockname()[1]} ")
        while True:
            connection, _ = listener.accept()
            threading.Thread(target=new_handler(connection).exec_loop, daemon=True).start()
