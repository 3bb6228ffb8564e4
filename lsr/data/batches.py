"""The training source: ranges of positions of the sample order as tensors.

What a position holds is a pure function of (data set, order, position), so prefetching, world size, micro-batches and
resuming cannot change it.
"""

from __future__ import annotations

import io
import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lsr.core.errors import InputError, IntegrityError
from lsr.core.pixels import decode_rgb
from lsr.data.order import SampleOrder
from lsr.data.pixels import image_of
from lsr.data.prefetch import Batch, Prefetcher
from lsr.data.shards import SampleReader

# Bytes of a `.npy` file of version 1.0 before its header: magic, version, and in the last two the header's length.
_NPY_START = 10


def _require_kind(reader: SampleReader, kind: str) -> None:
    if reader.manifest.kind != kind:
        raise InputError(f"Data set {reader.manifest.name} must be of kind {kind!r}, found {reader.manifest.kind!r}.")


def _require_order(reader: SampleReader, order: SampleOrder) -> None:
    if order.samples != len(reader):
        raise IntegrityError(
            f"The sample order is for {order.samples} samples, but data set {reader.manifest.name} has {len(reader)}."
        )


def _indices(order: SampleOrder, positions: range, *readers: SampleReader | None) -> list[int]:
    """Sample indices of these positions; the readers are told which shards come next."""
    coming = order.shards_from(positions.start)
    for reader in readers:
        if reader is not None:
            reader.expect(coming)
    return [int(index) for index in order.indices(positions.start, positions.stop)]


def _stack(arrays: list[NDArray[np.generic]], reader: SampleReader, indices: list[int]) -> Tensor:
    for array, index in zip(arrays, indices):
        if array.shape != arrays[0].shape:
            raise IntegrityError(
                f"{reader.describe(index)} has the shape {array.shape}, others of its batch {arrays[0].shape}."
            )
    return torch.from_numpy(np.stack(arrays))


def _tiles(reader: SampleReader, indices: list[int]) -> Tensor:
    """uint8 [b, 3, S, S]."""
    arrays: list[NDArray[np.generic]] = []
    for index in indices:
        where = reader.describe(index)
        arrays.append(decode_rgb(image_of(reader.read(index), where), where).transpose(2, 0, 1))
    return _stack(arrays, reader, indices)


class TileSource:
    """Batches of tiles: "position" int64 [b] and "tile" uint8 [b, 3, S, S].

    batch: samples per global batch, by which the ranges to come are guessed. Raises InputError for a data set that
    holds no tiles, IntegrityError for an order of another data set.
    """

    def __init__(self, reader: SampleReader, order: SampleOrder, batch: int) -> None:
        _require_kind(reader, "tiles")
        _require_order(reader, order)
        self._reader, self._order = reader, order
        self._prefetcher = Prefetcher(self._make, batch)

    def batch(self, start: int, stop: int) -> Batch:
        """The samples at positions start .. stop - 1. Raises IntegrityError naming the shard and key that cannot be
        read.
        """
        return self._prefetcher.get(start, stop)

    def verify(self) -> None:
        """Return when all that batches were made of is known to be right. Raises what reading on would raise: of a
        corrupt shard IntegrityError, which names it.
        """
        self._reader.verify()

    def close(self) -> None:
        """End the background thread and close the files."""
        self._prefetcher.close()
        self._reader.close()

    def _make(self, start: int, stop: int) -> Batch:
        positions = range(start, stop)
        indices = _indices(self._order, positions, self._reader)
        return {"position": torch.tensor(positions), "tile": _tiles(self._reader, indices)}


class LatentSource:
    """Batches of cached latents, raw and not whitened: "position" int64 [b]; "hr_mean", "hr_std" where the encoder has
    one, and "lr" (the LR condition) when `degradation` names one, each float32 [b, c, h, w]; "tile" uint8 [b, 3, S, S]
    when `tiles` is given.

    batch: samples per global batch, by which the ranges to come are guessed. encoder, whitening: the digests the
    caller's model has. degradation: `degradation_digest` of the LR condition, or
    None. tiles: reader of the tile set the latents were made from, where the pixels are needed too.

    Raises IntegrityError when the latents are of another encoder, whitening or tile set; InputError when they do not
    hold the degradation.
    """

    def __init__(
        self,
        reader: SampleReader,
        tiles: SampleReader | None,
        order: SampleOrder,
        batch: int,
        *,
        encoder: str,
        whitening: str,
        degradation: str | None = None,
    ) -> None:
        _require_kind(reader, "latents")
        _require_order(reader, order)
        _require_digests(reader, {"encoder": encoder, "whitening": whitening})
        _require_degradation(reader, degradation)
        if tiles is not None:
            _require_kind(tiles, "tiles")
            _require_aligned(reader, tiles)
        self._reader, self._tiles, self._order, self._degradation = reader, tiles, order, degradation
        self._prefetcher = Prefetcher(self._make, batch)

    def batch(self, start: int, stop: int) -> Batch:
        """The samples at positions start .. stop - 1. Raises IntegrityError naming the shard and key that cannot be
        read.
        """
        return self._prefetcher.get(start, stop)

    def verify(self) -> None:
        """Return when all that batches were made of is known to be right. Raises what reading on would raise: of a
        corrupt shard IntegrityError, which names it.
        """
        for reader in (self._reader, self._tiles):
            if reader is not None:
                reader.verify()

    def close(self) -> None:
        """End the background thread and close the files."""
        self._prefetcher.close()
        self._reader.close()
        if self._tiles is not None:
            self._tiles.close()

    def _make(self, start: int, stop: int) -> Batch:
        positions = range(start, stop)
        indices = _indices(self._order, positions, self._reader, self._tiles)
        samples = [self._reader.read(index) for index in indices]
        batch = {"position": torch.tensor(positions), "hr_mean": self._latents(samples, indices, "hr.npy")}
        if "hr_std.npy" in samples[0]:
            batch["hr_std"] = self._latents(samples, indices, "hr_std.npy")
        if self._degradation is not None:
            batch["lr"] = self._latents(samples, indices, f"lr-{self._degradation}.npy")
        if self._tiles is not None:
            for index in indices:
                self._require_same_key(self._tiles, index)
            batch["tile"] = _tiles(self._tiles, indices)
        return batch

    def _latents(self, samples: list[dict[str, bytes]], indices: list[int], member: str) -> Tensor:
        arrays = []
        for sample, index in zip(samples, indices):
            if member not in sample:
                raise IntegrityError(f"{self._reader.describe(index)} lacks the member {member}; encode it again.")
            arrays.append(_load(sample[member], self._reader, index))
        return _stack(arrays, self._reader, indices).float()

    def _require_same_key(self, tiles: SampleReader, index: int) -> None:
        if self._reader.row(index).key != tiles.row(index).key:
            raise IntegrityError(
                f"{self._reader.describe(index)} does not match {tiles.describe(index)}; encode again."
            )


def _load(data: bytes, reader: SampleReader, index: int) -> NDArray[np.generic]:
    try:
        end = _NPY_START + int.from_bytes(data[_NPY_START - 2 : _NPY_START], "little")
        kind, shape = _npy_header(data[:end])
        return np.frombuffer(data, kind, math.prod(shape), end).reshape(shape)
    except Exception as error:
        # numpy reads headers by Python's tokeniser, which raises whatever damaged bytes lead it to.
        raise IntegrityError(f"{reader.describe(index)} is not a latent: {error}.") from error


@lru_cache(maxsize=64)
def _npy_header(header: bytes) -> tuple[np.dtype[np.generic], tuple[int, ...]]:
    """Type and shape of an array by its `.npy` header, of which a data set has a handful: numpy reads each by Python's
    compiler, which costs several times what the values cost. Raises ValueError for what the latents stage never writes.
    """
    stream = io.BytesIO(header)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise ValueError(f"its .npy version must be 1.0, found {version}")
    shape, columns_first, kind = np.lib.format.read_array_header_1_0(stream)
    if columns_first or kind.hasobject:
        raise ValueError(f"it must hold plain numbers row by row, found {kind}")
    return kind, shape


def _require_digests(reader: SampleReader, expected: dict[str, str]) -> None:
    for name, digest in expected.items():
        found = reader.manifest.extra.get(name)
        if found != digest:
            raise IntegrityError(
                f"The latents {reader.manifest.name} were made with {name} {found!r}, and this model has {digest!r}; "
                "run the latents stage for this model."
            )


def _require_degradation(reader: SampleReader, degradation: str | None) -> None:
    held = list(reader.manifest.extra.get("degradations", []))
    if degradation is not None and degradation not in held:
        raise InputError(
            f"The latents {reader.manifest.name} hold the degradations {held}, not {degradation!r}; "
            "add it to latents.degradations and run the latents stage."
        )


def _require_aligned(reader: SampleReader, tiles: SampleReader) -> None:
    counts = [[row.samples for row in r.manifest.shards] for r in (reader, tiles)]
    if reader.manifest.parents.get("tiles") != tiles.manifest.digest or counts[0] != counts[1]:
        raise IntegrityError(
            f"The latents {reader.manifest.name} were made from tile set {reader.manifest.parents.get('tiles')}, "
            f"not from {tiles.manifest.digest}; run the latents stage for these tiles."
        )
