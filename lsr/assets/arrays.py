"""Reading arrays out of a numpy pickle without running it.

A pickle is a program, and unpickling runs it. This reader walks its opcodes and understands only what a nested dict of
numeric numpy arrays needs; names of functions are compared, never looked up, and anything else is rejected. It is used
once, when metric weights are fetched, to turn them into safetensors. Standard library and numpy only.
"""

from __future__ import annotations

import pickletools
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lsr.core.errors import IntegrityError

CONSTANTS: dict[str, Any] = {"EMPTY_TUPLE": (), "NONE": None, "NEWTRUE": True, "NEWFALSE": False}
LITERALS = {"BININT", "BININT1", "BININT2", "BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
MAKERS = {"numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct", "numpy dtype"}
NAMES = MAKERS | {"numpy ndarray"}
KINDS = ("f2", "f4", "f8", "i4", "i8", "u1")

_MARK = object()


@dataclass(slots=True)
class _Name:
    """A function or class that the pickle mentions."""

    text: str


@dataclass(slots=True)
class _Made:
    """What the pickle asks to be called, with what, and the state given to it afterwards."""

    maker: str
    arguments: tuple[Any, ...]
    state: Any = None


@dataclass(slots=True)
class _Machine:
    """The pickle machine's stack and memo, without its powers."""

    where: str
    stack: list[Any] = field(default_factory=list)
    memo: dict[int, Any] = field(default_factory=dict)

    def reject(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self.where} must be a pickle of plain numeric arrays, found {what}; it was not run and is not used."
        )

    def to_mark(self) -> list[Any]:
        at = max(i for i, item in enumerate(self.stack) if item is _MARK)
        items = self.stack[at + 1 :]
        del self.stack[at:]
        return items

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in ("PROTO", "FRAME"):
            return
        if name == "EMPTY_DICT":
            stack.append({})
        elif name in CONSTANTS:
            stack.append(CONSTANTS[name])
        elif name in LITERALS:
            stack.append(argument)
        elif name == "MARK":
            stack.append(_MARK)
        elif name in TUPLES:
            items = tuple(stack[-TUPLES[name] :])
            del stack[-TUPLES[name] :]
            stack.append(items)
        elif name == "TUPLE":
            stack.append(tuple(self.to_mark()))
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        else:
            self.build(name, argument)

    def build(self, name: str, argument: Any) -> None:
        """The opcodes that name, call and fill things."""
        stack = self.stack
        if name in ("GLOBAL", "STACK_GLOBAL"):
            text = argument if name == "GLOBAL" else " ".join(reversed([stack.pop(), stack.pop()]))
            if text not in NAMES:
                raise self.reject(f"the name {text!r}")
            stack.append(_Name(text))
        elif name == "REDUCE":
            arguments, maker = stack.pop(), stack.pop()
            if not isinstance(maker, _Name) or maker.text not in MAKERS:
                raise self.reject("a call of something else than an array")
            stack.append(_Made(maker.text, arguments))
        elif name == "BUILD":
            state = stack.pop()
            if not isinstance(stack[-1], _Made):
                raise self.reject("a state given to something else than an array")
            stack[-1].state = state
        elif name in ("SETITEM", "SETITEMS"):
            items = self.to_mark() if name == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
            if not isinstance(stack[-1], dict):
                raise self.reject("items set on something else than a dict")
            stack[-1].update(zip(items[::2], items[1::2], strict=True))
        else:
            raise self.reject(f"the instruction {name}")


def _array(made: _Made, machine: _Machine) -> np.ndarray[Any, np.dtype[Any]]:
    """An array from numpy's own pickle state: (version, shape, dtype, column-major, bytes)."""
    _, shape, dtype, column_major, data = made.state
    kind, order = dtype.arguments[0], dtype.state[1]
    if dtype.maker != "numpy dtype" or kind not in KINDS or order not in "<|":
        raise machine.reject(f"an array of type {order}{kind}")
    flat = np.frombuffer(data, dtype=np.dtype(kind).newbyteorder("<"))
    return flat.reshape(shape, order="F" if column_major else "C").copy()


def _flatten(value: Any, path: str, machine: _Machine, out: dict[str, np.ndarray[Any, np.dtype[Any]]]) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            _flatten(item, f"{path}/{key}" if path else str(key), machine, out)
    elif isinstance(value, _Made) and value.state is not None:
        out[path] = _array(value, machine)
    else:
        raise machine.reject(f"{type(value).__name__} at {path or 'the top'}")


def read_arrays(data: bytes, where: str) -> dict[str, np.ndarray[Any, np.dtype[Any]]]:
    """Arrays of a pickled nested dict, by keys joined with `/`. where: what the messages call the file.

    Raises IntegrityError for anything but dicts, strings and numeric arrays.
    """
    machine = _Machine(where)
    try:
        for opcode, argument, _ in pickletools.genops(data):
            if opcode.name == "STOP":
                break
            machine.step(opcode.name, argument)
        arrays: dict[str, np.ndarray[Any, np.dtype[Any]]] = {}
        _flatten(machine.stack[-1], "", machine, arrays)
    except (ArithmeticError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise machine.reject(f"a broken pickle ({error})") from error
    return arrays
