"""What a pickle would build, from its opcodes. Nothing is imported, called or unpickled.

A small machine follows the stack with symbols in the place of objects: a global is its name, a call
is remembered as a call. Enough to name everything that loading would import, and the tensors of a
``torch.save`` file with their types and sizes.
"""

from __future__ import annotations

import io
import pickletools
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: Opcodes one pickle may have: some hundred thousand parameters' worth, read within a second.
MAX_OPCODES = 150_000


class PickleError(Exception):
    """The bytes are not a pickle, or one that cannot be followed."""


@dataclass(frozen=True, eq=False)
class Global:
    """Something that loading would import."""

    name: str


@dataclass(frozen=True, eq=False)
class Persistent:
    """A reference to bytes outside the pickle: torch's storages."""

    value: Any


@dataclass(frozen=True, eq=False)
class Call:
    """What loading would call, and with which arguments."""

    function: Any
    arguments: Any


@dataclass(frozen=True)
class Contents:
    """``imports`` are dotted names in order of appearance; ``end`` is where the pickle ends."""

    imports: tuple[str, ...]
    persistent: tuple[Persistent, ...]
    calls: tuple[Call, ...]
    value: Any
    end: int


class _Mark:
    pass


def scan(data: bytes) -> Contents:
    """Raises PickleError, whatever the bytes are."""
    machine = _Machine()
    stream = io.BytesIO(data)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count >= MAX_OPCODES:
                raise PickleError(f"more than {MAX_OPCODES} opcodes")
            machine.step(opcode.name, argument)
    except (ValueError, OverflowError, struct.error, IndexError, EOFError, MemoryError) as exc:
        raise PickleError(str(exc) or type(exc).__name__) from exc
    return machine.contents(stream.tell())


class _Machine:
    """The pickle machine with symbols for objects. Containers that are filled stay symbols too."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._imports: dict[str, None] = {}
        self._persistent: list[Persistent] = []
        self._calls: list[Call] = []

    def contents(self, end: int) -> Contents:
        value = self._stack[-1] if self._stack else None
        return Contents(
            tuple(self._imports), tuple(self._persistent), tuple(self._calls), value, end
        )

    def step(self, name: str, argument: Any) -> None:
        if name in _VALUES:
            self._stack.append(argument)
        elif name in _CONSTANTS:
            self._stack.append(_CONSTANTS[name])
        elif name in _SPECIAL:
            _SPECIAL[name](self, argument)
        elif name not in _NOTHING:
            raise PickleError(f"opcode {name} is not used by torch.save")

    def _pop(self) -> Any:
        if not self._stack:
            raise PickleError("it takes from an empty stack")
        return self._stack.pop()

    def _top(self) -> Any:
        if not self._stack:
            raise PickleError("it takes from an empty stack")
        return self._stack[-1]

    def _to_mark(self) -> tuple[Any, ...]:
        for place in range(len(self._stack) - 1, -1, -1):
            if isinstance(self._stack[place], _Mark):
                items = tuple(self._stack[place + 1 :])
                del self._stack[place:]
                return items
        raise PickleError("it takes up to a mark that is not there")

    def tuple_of(self, count: int) -> None:
        items = [self._pop() for _ in range(count)]
        self._stack.append(tuple(reversed(items)))

    def tuple_to_mark(self, _: Any) -> None:
        self._stack.append(self._to_mark())

    def list_to_mark(self, _: Any) -> None:
        self._stack.append(list(self._to_mark()))

    def fill_to_mark(self, _: Any) -> None:
        self._to_mark()
        self._top()

    def drop(self, count: int) -> None:
        for _ in range(count):
            self._pop()
        self._top()

    def pop(self, _: Any) -> None:
        self._pop()

    def pop_to_mark(self, _: Any) -> None:
        self._to_mark()

    def mark(self, _: Any) -> None:
        self._stack.append(_Mark())

    def copy(self, _: Any) -> None:
        self._stack.append(self._top())

    def get(self, index: Any) -> None:
        if int(index) not in self._memo:
            raise PickleError(f"it refers to memo {int(index)}, which is not there")
        self._stack.append(self._memo[int(index)])

    def put(self, index: Any) -> None:
        self._memo[int(index)] = self._top()

    def memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._top()

    def named_global(self, argument: Any) -> None:
        module, _, name = str(argument).partition(" ")
        self._import(f"{module}.{name}")

    def stack_global(self, _: Any) -> None:
        name, module = self._pop(), self._pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise PickleError("it imports something whose name is not text")
        self._import(f"{module}.{name}")

    def _import(self, name: str) -> None:
        self._imports[name] = None
        self._stack.append(Global(name))

    def extension(self, code: Any) -> None:
        self._import(f"copyreg extension {code}")

    def persistent(self, _: Any) -> None:
        self._stack.append(Persistent(self._pop()))
        self._persistent.append(self._stack[-1])

    def call(self, _: Any) -> None:
        arguments = self._pop()
        self._called(self._pop(), arguments)

    def call_with_keywords(self, _: Any) -> None:
        self._pop()
        self.call(None)

    def instance(self, argument: Any) -> None:
        arguments = self._to_mark()
        self.named_global(argument)
        self._called(self._pop(), arguments)

    def object_to_mark(self, _: Any) -> None:
        items = self._to_mark()
        if not items:
            raise PickleError("it makes an object of nothing")
        self._called(items[0], items[1:])

    def _called(self, function: Any, arguments: Any) -> None:
        self._stack.append(Call(function, arguments))
        self._calls.append(self._stack[-1])


_VALUES = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 STRING BINSTRING SHORT_BINSTRING BINBYTES
    SHORT_BINBYTES BINBYTES8 BYTEARRAY8 UNICODE SHORT_BINUNICODE BINUNICODE BINUNICODE8 FLOAT
    BINFLOAT
    """.split()  # noqa: SIM905  # a word list reads better than as many quotes
)
#: Containers that are filled later stay what they are here: nobody asks what is in them.
_CONSTANTS: dict[str, Any] = {
    "NONE": None, "NEWTRUE": True, "NEWFALSE": False,
    "EMPTY_TUPLE": (), "EMPTY_LIST": [], "EMPTY_DICT": {}, "EMPTY_SET": frozenset(),
}  # fmt: skip
_NOTHING = frozenset(("PROTO", "FRAME", "STOP"))
_SPECIAL: dict[str, Callable[[_Machine, Any], None]] = {
    "MARK": _Machine.mark,
    "DUP": _Machine.copy,
    "POP": _Machine.pop,
    "POP_MARK": _Machine.pop_to_mark,
    "TUPLE": _Machine.tuple_to_mark,
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": _Machine.list_to_mark,
    "DICT": _Machine.list_to_mark,
    "FROZENSET": _Machine.list_to_mark,
    "APPEND": lambda machine, _: machine.drop(1),
    "SETITEM": lambda machine, _: machine.drop(2),
    "APPENDS": _Machine.fill_to_mark,
    "SETITEMS": _Machine.fill_to_mark,
    "ADDITEMS": _Machine.fill_to_mark,
    "BUILD": lambda machine, _: machine.drop(1),
    "GET": _Machine.get,
    "BINGET": _Machine.get,
    "LONG_BINGET": _Machine.get,
    "PUT": _Machine.put,
    "BINPUT": _Machine.put,
    "LONG_BINPUT": _Machine.put,
    "MEMOIZE": _Machine.memoize,
    "GLOBAL": _Machine.named_global,
    "STACK_GLOBAL": _Machine.stack_global,
    "EXT1": _Machine.extension,
    "EXT2": _Machine.extension,
    "EXT4": _Machine.extension,
    "BINPERSID": _Machine.persistent,
    "REDUCE": _Machine.call,
    "NEWOBJ": _Machine.call,
    "NEWOBJ_EX": _Machine.call_with_keywords,
    "INST": _Machine.instance,
    "OBJ": _Machine.object_to_mark,
}
