"""Reading the convolutions of an ncnn network: a text file names the layers, a binary file holds their weights in that
order. Nothing in either is run. Standard library and numpy only.

Text: the magic number, the counts of layers and blobs, then one layer a line: type, name, numbers of inputs and
outputs, their names, and `id=value` fields (of a convolution 0 = outputs, 1 = kernel side, 5 = has a bias, 6 =
weights). Binary, for each convolution: 4 bytes that say how its weights are stored, the weights [out, in, k, k] filled
up to 4 bytes, the bias as float32.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from lsr.core.errors import IntegrityError

MAGIC = "7767517"
STORED = {0x01306B47: "<f2", 0x0002C056: "<f4", 0: "<f4"}
"""How weights may be stored; ncnn has quantised forms too, which are rejected."""

Array = np.ndarray[Any, np.dtype[np.float32]]


def _fields(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


class _Binary:
    """The binary file, read from front to back."""

    def __init__(self, data: bytes, where: str):
        self.data, self.where, self.at = data, where, 0

    def take(self, count: int, kind: str) -> np.ndarray[Any, np.dtype[Any]]:
        size = count * np.dtype(kind).itemsize
        if self.at + size > len(self.data):
            raise IntegrityError(f"{self.where} must hold {self.at + size} bytes or more, found {len(self.data)}.")
        found = np.frombuffer(self.data, kind, count, self.at)
        self.at += size + -size % 4
        return found

    def weights(self, count: int) -> np.ndarray[Any, np.dtype[Any]]:
        tag = int(self.take(1, "<u4")[0])
        if tag not in STORED:
            raise IntegrityError(f"{self.where} holds weights stored as {tag:#010x}, which is neither float16 nor 32.")
        return self.take(count, STORED[tag])


def read_convolutions(param: bytes, binary: bytes, where: str) -> list[tuple[Array, Array]]:
    """(weight [out, in, k, k], bias [out]), float32, of every convolution in the order of the layers.

    where: what the messages call the files. Raises IntegrityError for anything else than square convolutions with a
    bias and layers without weights, and for bytes that are missing or left over.
    """
    try:
        lines = [line for line in param.decode("ascii").split("\n") if line.strip()]
        if not lines or lines[0].strip() != MAGIC or len(lines) - 2 != int(lines[1].split()[0]):
            raise IntegrityError(f"{where} must begin with {MAGIC} and hold as many layers as it says; it does not.")
        found, source = [], _Binary(binary, where)
        for line in lines[2:]:
            kind, fields = line.split()[0], _fields(line)
            if kind == "Convolution":
                found.append(_convolution(fields, source))
            elif kind not in ("Input", "Split", "Concat", "Eltwise", "BinaryOp", "Interp"):
                raise IntegrityError(f"{where} holds the layer {kind}, which this reader does not know.")
    except (ValueError, LookupError) as error:
        raise IntegrityError(f"{where} cannot be read as an ncnn network: {error}.") from error
    if source.at != len(binary):
        raise IntegrityError(f"{where} must hold {source.at} bytes of weights, found {len(binary)}.")
    return found


def _convolution(fields: dict[str, str], source: _Binary) -> tuple[Array, Array]:
    out, side, count = int(fields["0"]), int(fields["1"]), int(fields["6"])
    if fields.get("5") != "1" or out < 1 or side < 1 or count % (out * side * side):
        raise IntegrityError(f"{source.where}: a convolution must be square and have a bias, found {fields}.")
    weight = source.weights(count).astype(np.float32).reshape(out, -1, side, side)
    return weight, source.take(out, "<f4").astype(np.float32)
