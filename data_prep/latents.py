"""Stage *latents*: one tile shard -> one latent shard with the same keys in the same order.

A latent is of exactly its tile. Members, little-endian float16 `.npy` [c, h, w]: `<key>.hr.npy` (mean),
`<key>.hr_std.npy` where the encoder has a deviation, and one `<key>.lr-<degradation digest>.npy` for each fixed
degradation: the latent of the degraded tile brought back to the tile's size (method 1.5). Not whitened.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from data_prep.config import LATENTS_VERSION, LatentsConfig
from data_prep.parts import once
from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.config import as_plain
from lsr.core.errors import InputError, IntegrityError
from lsr.core.pixels import decode_rgb
from lsr.data.config import DegradationConfig
from lsr.data.degrade import degradation_digest, degrade, restore_size
from lsr.data.index import IndexRow
from lsr.data.manifest import ShardRow, load_manifest
from lsr.data.pixels import image_of
from lsr.data.shards import index_of, iter_shard
from lsr.data.whitening import Whitening
from lsr.nn.units import from_levels
from lsr.store import Store, open_store
from lsr.store.content import get_blob

Encode = Callable[[Tensor], tuple[Tensor, Tensor | None]]
"""Tiles [B, 3, S, S] in [-1, 1] to (mean, std or None), each [B, c, h, w]; std, not log-variance."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Statistics:
    """Sums over the stored HR means, a channel at a time. count: values a channel. max_error: largest difference
    between an array and its stored half-precision form."""

    count: int
    total: tuple[float, ...]
    squares: tuple[float, ...]
    max_error: float


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedShard:
    """The latent shard of one tile shard."""

    shard: ShardRow
    statistics: Statistics


def encode_shard(
    data: bytes, tiles: Sequence[IndexRow], encode: Encode, config: LatentsConfig, batch: int, where: str
) -> tuple[bytes, list[IndexRow], Statistics]:
    """The latent tar of the tile shard `data`, its index rows and its statistics. tiles: the tile shard's index. batch:
    tiles per call of `encode`.

    Raises IntegrityError naming `where` and the key when latents are not finite in half precision, or when the tar
    and its index disagree.
    """
    samples: list[Sample] = []
    sums = _Sums()
    for rows, x in _batches(data, tiles, batch, where):
        arrays = _encode_batch(encode, x, config.cached)
        halves = {ext: _half(values, rows, ext, where, sums) for ext, values in arrays.items()}
        sums.add(halves["hr.npy"])
        for i, row in enumerate(rows):
            members = {ext: _npy(half[i]) for ext, half in halves.items()}
            samples.append(Sample(row.key, row.source, row.split, row.width, row.height, members))
    return *write_tar(samples), sums.statistics()


def encode_shard_to_store(
    store_uri: str, row: ShardRow, encode: Encode, encoder: str, config: LatentsConfig, batch: int
) -> EncodedShard:
    """Encode one tile shard and put its latents into the store; remembered under the encoder's digest `encoder`.

    Raises IntegrityError naming a corrupt tile shard.
    """
    store = open_store(store_uri)

    def make() -> dict[str, Any]:
        tiles = index_of(store, row)
        where = f"{store.uri}/{row.path}"
        tar, rows, statistics = encode_shard(get_blob(store, row.path), tiles, encode, config, batch, where)
        return {"shards": [asdict(store_shard(store, tar, rows))], "statistics": asdict(statistics)}

    # Whitening is fitted over all shards later, so it does not belong to one shard's name.
    wanted = {"degradations": [as_plain(degradation) for degradation in config.cached]}
    result = once(store, "latents.encode", LATENTS_VERSION, {"tiles": row.sha256, "encoder": encoder}, wanted, make)
    found = result["statistics"]
    statistics = Statistics(
        count=found["count"],
        total=tuple(found["total"]),
        squares=tuple(found["squares"]),
        max_error=found["max_error"],
    )
    return EncodedShard(shard=ShardRow(**result["shards"][0]), statistics=statistics)


def fit_whitening(statistics: Sequence[Statistics], kind: Literal["std", "channel"]) -> Whitening:
    """The whitening of a whole base set from its shards' statistics.

    `channel`: mean and standard deviation of each channel. `std`: mean 0 and one deviation, over all values, for every
    channel (LDM's scale factor is its inverse). Raises InputError when there are no latents or one channel is constant.
    """
    count = sum(s.count for s in statistics)
    if count == 0:
        raise InputError("Whitening needs at least one latent, found none; the tile set is empty.")
    # fsum: the digest of the whitening must not depend on rounding in some order of shards.
    mean, square = (
        [math.fsum(values) / count for values in zip(*table)]
        for table in ([s.total for s in statistics if s.count], [s.squares for s in statistics if s.count])
    )
    if kind == "std":
        centre = math.fsum(mean) / len(mean)
        std = [math.sqrt(max(math.fsum(square) / len(square) - centre**2, 0.0))] * len(mean)
        mean = [0.0] * len(mean)
    else:
        std = [math.sqrt(max(s - m * m, 0.0)) for m, s in zip(mean, square)]
    if min(std) <= 1e-6 * max(1.0, *map(abs, mean)):
        raise InputError(f"The encoder collapsed: its latents have the deviations {std}; train the autoencoder again.")
    return Whitening(kind=kind, mean=tuple(mean), std=tuple(std))


def whitening_for(store: Store, encoder: str, config: LatentsConfig, statistics: Sequence[Statistics]) -> Whitening:
    """The whitening of `config.base`, or where none is named the one fitted to these shards.

    Raises InputError when the base holds latents of another encoder (`encoder` is a digest) or kind of whitening.
    """
    if not config.base:
        return fit_whitening(statistics, config.whitening)
    extra = load_manifest(store, config.base).extra
    inherited = Whitening.from_plain(extra.get("whitening_values", {}))
    if extra.get("encoder") != encoder or inherited.kind != config.whitening:
        raise InputError(
            f"{config.base} was encoded by {str(extra.get('encoder'))[:12]} and whitened by {inherited.kind!r}, this "
            f"set is by {encoder[:12]} and {config.whitening!r}; leave latents.base empty to fit the whitening anew."
        )
    return inherited


class _Sums:
    """Running float64 sums of one shard."""

    def __init__(self) -> None:
        self.count, self.max_error = 0, 0.0
        self.total: NDArray[np.float64] = np.zeros(0)
        self.squares: NDArray[np.float64] = np.zeros(0)

    def add(self, half: NDArray[np.float16]) -> None:
        """Values [B, c, h, w] as they are stored."""
        values = half.astype(np.float64)
        total, squares = values.sum(axis=(0, 2, 3)), np.square(values).sum(axis=(0, 2, 3))
        self.total = total if self.count == 0 else self.total + total
        self.squares = squares if self.count == 0 else self.squares + squares
        self.count += values.size // values.shape[1]

    def statistics(self) -> Statistics:
        total, squares = tuple(map(float, self.total)), tuple(map(float, self.squares))
        return Statistics(count=self.count, total=total, squares=squares, max_error=self.max_error)


def _batches(data: bytes, tiles: Sequence[IndexRow], size: int, where: str) -> Iterator[tuple[list[IndexRow], Tensor]]:
    """(index rows, tiles [B, 3, S, S] float in [-1, 1]) in the order of the shard."""
    rows: list[IndexRow] = []
    images: list[NDArray[np.uint8]] = []
    samples = list(iter_shard(data, where))
    if [sample["__key__"] for sample in samples] != [row.key for row in tiles]:
        raise IntegrityError(f"{where} and its index hold different keys; run `lsr data verify`.")
    for number, (sample, row) in enumerate(zip(samples, tiles), start=1):
        members = {ext: value for ext, value in sample.items() if not ext.startswith("__")}
        name = f"Sample {row.key} of {where}"
        rows.append(row)
        images.append(decode_rgb(image_of(members, name), name))
        if len(rows) == size or number == len(samples):
            yield rows, from_levels(torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2))
            rows, images = [], []


@torch.no_grad()
def _encode_batch(encode: Encode, x: Tensor, degradations: Sequence[DegradationConfig]) -> dict[str, Tensor]:
    size = (x.shape[-2], x.shape[-1])
    mean, std = encode(x)
    arrays = {"hr.npy": mean} if std is None else {"hr.npy": mean, "hr_std.npy": std}
    for config in degradations:
        arrays[f"lr-{degradation_digest(config)}.npy"] = encode(restore_size(config, degrade(config, x), size))[0]
    return arrays


def _half(values: Tensor, rows: Sequence[IndexRow], ext: str, where: str, sums: _Sums) -> NDArray[np.float16]:
    full = values.detach().float().cpu().numpy()
    with np.errstate(over="ignore"):
        half = full.astype("<f2")
    finite = np.isfinite(half).all(axis=(1, 2, 3))
    if not finite.all():
        key = rows[int(np.argmin(finite))].key
        raise IntegrityError(
            f"The latent {ext} of {key} in {where} is not finite in half precision (largest value "
            f"{np.abs(full).max():g}); train the autoencoder again or give it a KL weight."
        )
    sums.max_error = max(sums.max_error, float(np.abs(full - half.astype(np.float32)).max()))
    return half


def _npy(array: NDArray[np.float16]) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return out.getvalue()
