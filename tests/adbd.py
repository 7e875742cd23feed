"""The device's end of adb, imitated over TCP, for the real ``adb`` to talk to.

As much of the protocol as ``features``, ``shell`` (``shell_v2``) and ``push`` need; see adb's
``protocol.txt`` and ``SYNC.TXT``. As Android's does, it sends a shell SIGHUP and closes its stdin
when the connection goes. What stands for ``/data/local/tmp`` is a folder here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import struct
import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from tests.fake_adb import TEMPORARY

_VERSION, _MOST_BYTES = 0x01000001, 256 * 1024
_BANNER = b"device::ro.product.name=x;ro.product.model=y;ro.product.device=z;features=shell_v2,cmd"
_STDIN, _STDOUT, _STDERR, _EXIT, _CLOSE_STDIN = range(5)


class Adbd:
    """Listens on a port of the loopback until it is closed."""

    def __init__(self, there: Path, environment: Mapping[str, str]) -> None:
        self.there = there
        self.environment = environment
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.serial = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                threading.Thread(target=_Connection(sock, self).serve, daemon=True).start()


class _Connection:
    def __init__(self, sock: socket.socket, adbd: Adbd) -> None:
        self.adbd = adbd
        self._socket = sock
        self._reader = sock.makefile("rb")
        self._sending = threading.Lock()
        self._streams: dict[int, _Stream] = {}
        self._next = 1

    def serve(self) -> None:
        try:
            while len(head := self._reader.read(24)) == 24:
                word, one, other, size = struct.unpack("<4s3I", head[:16])
                self._take(word, one, other, self._reader.read(size))
        except OSError:
            pass
        finally:
            for stream in list(self._streams.values()):
                stream.cut_off()

    def _take(self, word: bytes, theirs: int, ours: int, data: bytes) -> None:
        if word == b"CNXN":
            self.send(b"CNXN", _VERSION, _MOST_BYTES, _BANNER)
        elif word == b"OPEN":
            self._open(theirs, data.rstrip(b"\0").decode())
        elif (stream := self._streams.get(ours)) is None:
            return
        elif word == b"OKAY":
            stream.taken.release()
        elif word == b"WRTE":
            stream.feed(data)
            self.send(b"OKAY", ours, theirs)
        elif word == b"CLSE":
            del self._streams[ours]
            stream.cut_off()

    def _open(self, theirs: int, service: str) -> None:
        kinds = {"shell": _Shell, "sync": _Sync}
        name, _, argument = service.partition(":")
        stream = kinds[name.partition(",")[0]](self, self._next, theirs, argument)
        self._streams[self._next] = stream
        self._next += 1
        self.send(b"OKAY", stream.ours, theirs)
        threading.Thread(target=stream.run, daemon=True).start()

    def send(self, word: bytes, one: int, other: int, data: bytes = b"") -> None:
        magic = int.from_bytes(word, "little") ^ 0xFFFFFFFF
        head = struct.pack("<4s5I", word, one, other, len(data), sum(data) & 0xFFFFFFFF, magic)
        with self._sending:
            self._socket.sendall(head + data)


class _Stream:
    def __init__(self, connection: _Connection, ours: int, theirs: int, argument: str) -> None:
        self.ours = ours
        self.taken = threading.Semaphore(0)
        self._connection = connection
        self._theirs = theirs
        self._argument = argument
        self._gone = False

    def run(self) -> None:
        raise NotImplementedError

    def feed(self, data: bytes) -> None:
        raise NotImplementedError

    def cut_off(self) -> None:
        self._gone = True
        self.taken.release()

    def write(self, data: bytes) -> None:
        """Send and wait until it was taken: one packet may be under way."""
        if not self._gone:
            self._connection.send(b"WRTE", self.ours, self._theirs, data)
            self.taken.acquire()

    def end(self) -> None:
        if not self._gone:
            self._connection.send(b"CLSE", self.ours, self._theirs)

    def here(self, text: str) -> str:
        return text.replace(TEMPORARY, str(self._connection.adbd.there))


class _Shell(_Stream):
    """``shell,v2,raw:SCRIPT``; each packet has the number of a stream and its own length."""

    def __init__(self, connection: _Connection, ours: int, theirs: int, argument: str) -> None:
        super().__init__(connection, ours, theirs, argument)
        self._fed = b""
        self._writing = threading.Lock()
        self._process = subprocess.Popen(
            ["sh", "-c", self.here(argument)],
            env=dict(connection.adbd.environment),
            cwd="/",
            start_new_session=True,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )

    def run(self) -> None:
        streams = ((self._process.stdout, _STDOUT), (self._process.stderr, _STDERR))
        threads = [threading.Thread(target=self._carry, args=each) for each in streams]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        code = self._process.wait()
        self.write(struct.pack("<BIB", _EXIT, 1, 128 - code if code < 0 else code))
        self.end()

    def _carry(self, stream: IO[bytes], number: int) -> None:
        with stream:
            while data := stream.read(32 * 1024):
                with self._writing:
                    self.write(struct.pack("<BI", number, len(data)) + data)

    def feed(self, data: bytes) -> None:
        self._fed += data
        while len(self._fed) >= 5:
            number, size = struct.unpack("<BI", self._fed[:5])
            if len(self._fed) < 5 + size:
                return
            packet, self._fed = self._fed[5 : 5 + size], self._fed[5 + size :]
            if number == _CLOSE_STDIN:
                self._close_stdin()
            elif number == _STDIN and self._process.stdin is not None:
                self._process.stdin.write(packet)

    def cut_off(self) -> None:
        super().cut_off()
        self._process.send_signal(signal.SIGHUP)
        self._close_stdin()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


class _Sync(_Stream):
    """``sync:``: requests ``STAT`` and ``SEND`` (a path, then ``DATA`` to ``DONE``), ``QUIT``."""

    def __init__(self, connection: _Connection, ours: int, theirs: int, argument: str) -> None:
        super().__init__(connection, ours, theirs, argument)
        source, target = os.pipe()
        self._source, self._target = os.fdopen(source, "rb"), os.fdopen(target, "wb", 0)

    def feed(self, data: bytes) -> None:
        self._target.write(data)

    def cut_off(self) -> None:
        super().cut_off()
        self._target.close()

    def run(self) -> None:
        with self._source:
            while len(head := self._source.read(8)) == 8:
                word, size = struct.unpack("<4sI", head)
                if word == b"QUIT":
                    break
                path = self._source.read(size).decode()
                if word == b"STAT":
                    self.write(b"STAT" + bytes(12))
                elif word == b"SEND":
                    self._receive(Path(self.here(path.rpartition(",")[0])))
        self.end()

    def _receive(self, path: Path) -> None:
        with path.open("wb") as file:
            while (head := self._source.read(8))[:4] == b"DATA":
                file.write(self._source.read(int.from_bytes(head[4:], "little")))
        self.write(b"OKAY" + bytes(4))
