"""What a login shell prints before our command starts, told from what the command prints.

The shell is given one line of words in single quotes that hold neither quote, ``!``, newline nor
anything but ASCII, and whose backslashes stand before digits only: sh, csh, fish, zsh, ksh and the
rest read it alike. It starts ``sh``, which prints a random mark on both streams and then puts
the command together. All up to the mark is the shell's and is thrown away. Nothing is sent to
stdin before the mark has come, so that a shell which reads stdin never meets a line of ours.
"""

from __future__ import annotations

import secrets
import threading
from dataclasses import dataclass

from orchestrator.fleet.exchange import FarProcess

#: Of what came before the mark, for messages; longer than any mark.
_TAIL_BYTES = 8 * 1024
#: The longest word that a csh of 4.4BSD takes is a little over a thousand bytes.
_WORD_BYTES = 900
#: So much may be written before the mark has come; it fits into every pipe, so that whoever reads
#: and sends it then cannot be made to wait.
_HELD_BYTES = 32 * 1024
_SAFE = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _-./:,@+")
#: stderr first: where a carrier joins the two, its mark lies before that of stdout. The mark is
#: printed as one word and given as two, so that a shell which echoes its command line is not
#: taken for us.
_SCRIPT = 'echo $0$1 >&2; echo $1$0; shift; IFS=; eval "$(printf %b "$*")"'


@dataclass(frozen=True)
class Mark:
    """Two random words; put together they come before all that a command prints."""

    one: str
    two: str

    @classmethod
    def drawn(cls) -> Mark:
        return cls(f"orchestrate-{secrets.token_hex(8)}-", f"{secrets.token_hex(8)}-begins")

    @property
    def on_stdout(self) -> bytes:
        return f"{self.two}{self.one}".encode()

    @property
    def on_stderr(self) -> bytes:
        return f"{self.one}{self.two}".encode()


def marked_line(command: bytes, mark: Mark, *, replaces_shell: bool = True) -> bytes:
    """Write a line for any login shell, which runs ``command``, a line for a POSIX shell, behind a
    mark.

    ``replaces_shell`` takes the login shell out of the way (``exec``), which a restricted shell
    refuses.
    """
    words = [mark.one, mark.two, *_octal_words(command)]
    start = "exec env sh -c" if replaces_shell else "env sh -c"
    return f"{start} '{_SCRIPT}' {' '.join(words)}".encode()


def _octal_words(command: bytes) -> list[str]:
    """``command`` for ``printf %b``, cut into quoted words."""
    words = [""]
    for byte in command:
        piece = chr(byte) if byte in _SAFE else f"\\0{byte:03o}"
        if len(words[-1]) + len(piece) > _WORD_BYTES:
            words.append("")
        words[-1] += piece
    return [f"'{word}'" for word in words]


class MarkedProcess:
    """A ``FarProcess`` whose streams begin behind the mark.

    ``began`` tells whether the mark has come: until then nothing of ours has been run there.
    """

    def __init__(self, process: FarProcess, mark: Mark) -> None:
        self.began = False
        self._process = process
        self._stdout = _Before(mark.on_stdout)
        self._stderr = _Before(mark.on_stderr)
        self._settled = threading.Event()
        #: What was written before the mark has come, and whether stdin is to be closed after it.
        self._held = bytearray()
        self._closes = False
        self._guard = threading.Lock()

    @property
    def said_before(self) -> str:
        """Return the end of what came on both streams before the mark."""
        both = (self._stdout.tail() + b"\n" + self._stderr.tail()).decode(errors="replace")
        return both.strip()

    def write(self, data: memoryview) -> int:
        with self._guard:
            room = 0 if self._settled.is_set() else _HELD_BYTES - len(self._held)
            if room > 0:
                self._held += data[:room]
                return min(room, len(data))
        self._settled.wait()
        return self._process.write(data) if self.began else 0

    def close_stdin(self) -> None:
        with self._guard:
            if self._held and not self._settled.is_set():
                self._closes = True
                return
        self._process.close_stdin()

    def read_stdout(self) -> bytes:
        while chunk := self._process.read_stdout():
            behind = self._stdout.behind(chunk)
            if self._stdout.passed:
                self._settle(began=True)
            if behind:
                return behind
        self._settle(began=False)
        return b""

    def _settle(self, *, began: bool) -> None:
        """Send what was held back, or drop it; only the first call counts."""
        with self._guard:
            if self._settled.is_set():
                return
            self.began = began
            held = memoryview(bytes(self._held if began else b""))
            while held and (taken := self._process.write(held)):
                held = held[taken:]
            if self._closes:
                self._process.close_stdin()
            self._settled.set()

    def read_stderr(self) -> bytes:
        while chunk := self._process.read_stderr():
            if behind := self._stderr.behind(chunk):
                return behind
        return (
            self._stderr.unmarked()
        )  # why the shell did not start us, or all that it lets through

    def wait(self, timeout_s: float | None) -> int | None:
        return self._process.wait(timeout_s)

    def lost(self) -> str | None:
        return self._process.lost()

    def kill(self) -> None:
        self._process.kill()
        self._settle(began=False)

    def release(self) -> None:
        self._process.release()


class _Before:
    """One stream, of which what comes before the mark's line is kept back."""

    def __init__(self, mark: bytes) -> None:
        self.passed = False
        self._mark = mark
        self._kept = bytearray()

    def behind(self, chunk: bytes) -> bytes:
        """Return the part of ``chunk`` that is the command's."""
        if self.passed:
            return chunk
        self._kept += chunk
        at = self._kept.find(self._mark)
        end = self._kept.find(b"\n", at) if at >= 0 else -1
        if end < 0:
            del self._kept[:-_TAIL_BYTES]
            return b""
        self.passed = True
        behind = bytes(self._kept[end + 1 :])
        del self._kept[at:]
        del self._kept[:-_TAIL_BYTES]
        return behind

    def unmarked(self) -> bytes:
        """Return what was kept back where no mark came, once."""
        if self.passed:
            return b""
        self.passed = True
        return self.tail()

    def tail(self) -> bytes:
        return bytes(self._kept)
