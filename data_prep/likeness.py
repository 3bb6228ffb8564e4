"""Near duplicates by a perceptual hash: which held-out images look like a training image.

The hash is the usual one: 32 x 32 grey pixels, the lowest 8 x 8 terms of their discrete cosine transform, one bit a
term for above the median. All sums are of integers, so that every machine finds the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE, TERMS, BITS = 32, 8, 64
PAIRS_AT_ONCE = 1 << 20

Hashes = NDArray[np.uint64]
Mask = NDArray[np.bool_]

_COSINES = np.array(
    [[round(4096 * math.cos(math.pi * (2 * x + 1) * u / (2 * SIDE))) for x in range(SIDE)] for u in range(TERMS)],
    dtype=np.int64,
)


def phash_of(image: Image.Image) -> str:
    """The perceptual hash, 16 hex digits, of an image in mode L or RGB. The mean grey level does not enter."""
    small = image.convert("L").resize((SIDE, SIDE), Image.Resampling.BOX)
    terms = (_COSINES @ np.asarray(small, dtype=np.int64) @ _COSINES.T).ravel()[1:]
    bits = terms > np.sort(terms)[len(terms) // 2]
    return f"{int.from_bytes(np.packbits(np.append(False, bits)).tobytes(), 'big'):016x}"


def reached(hashes: Hashes, held: Mask, distance: int) -> Mask:
    """Which images of `held` are near one that is not held, or near an image that is reached.

    hashes, held [n]: hash, and whether the image is held out. Near: at most `distance` bits differ. What is left of
    `held` has no near image outside.
    """
    found = np.zeros(len(hashes), dtype=bool)
    front = ~held
    while front.any():
        rest = np.flatnonzero(held & ~found)
        near = rest[_near_any(hashes[rest], hashes[front], distance)]
        front = np.zeros_like(found)
        front[near] = True
        found |= front
    return found


def _near_any(hashes: Hashes, others: Hashes, distance: int) -> Mask:
    """Which of `hashes` is near one of `others`."""
    near = np.zeros(len(hashes), dtype=bool)
    # Of distance + 1 bands of bits, two near hashes have at least one in common.
    edges = [BITS * band // (distance + 1) for band in range(distance + 2)]
    for low, high in pairwise(edges):
        mask = np.uint64((1 << (high - low)) - 1)
        theirs = (others >> np.uint64(low)) & mask
        order = np.argsort(theirs, kind="stable")
        mine = (hashes >> np.uint64(low)) & mask
        first, last = (np.searchsorted(theirs[order], mine, side=side) for side in ("left", "right"))
        for i, j in _ranges(np.where(near, last, first), last):
            close = np.bitwise_count(hashes[i] ^ others[order[j]]) <= distance
            near[i[close]] = True
    return near


def _ranges(first: NDArray[np.int64], last: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """(i, j) of all j in first[i] .. last[i] - 1, about PAIRS_AT_ONCE pairs at a time."""
    ends = np.cumsum(last - first)
    start = 0
    while start < len(ends):
        done = int(ends[start - 1]) if start else 0
        stop = max(int(np.searchsorted(ends, done + PAIRS_AT_ONCE, side="right")), start + 1)
        lengths = (last - first)[start:stop]
        i = np.repeat(np.arange(start, stop), lengths)
        j = np.arange(len(i)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[i]
        yield i, j
        start = stop
