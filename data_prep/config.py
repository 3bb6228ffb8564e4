"""Configs of the data stages: where images come from, how they are sharded, cut into tiles and encoded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from lsr.data.config import DegradationConfig

MIB = 1 << 20
MAX_DISTANCE = 10

_MANIFEST = re.compile(r"datasets/[A-Za-z0-9._-]+/[0-9a-f]{64}\.json")


def _path_faults(name: str, path: str) -> list[str]:
    known = not path or _MANIFEST.fullmatch(path)
    return [] if known else [f"{name} must be a manifest path, datasets/<name>/<digest>.json, found {path!r}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig:
    """Raw images. uri: a folder, `s3://bucket/prefix`, `tar:` + a folder or prefix of WebDataset tars, `list:` + a
    CSV, JSONL or Parquet file of addresses, or `set:NAME` (a packaged set, see `lsr data sets`). name: what the data
    set is called in the store. fetch: lets a list name http and https addresses, and names what they give, a date for
    example: under one name an address is fetched once, under another anew.
    """

    uri: str
    name: str
    fetch: str = ""

    def faults(self) -> list[str]:
        out = []
        if not self.uri:
            out.append("uri must name a folder, an s3:// prefix, tar:..., list:... or set:NAME, found an empty string.")
        if self.fetch and not self.uri.startswith("list:"):
            out.append(f"fetch is for the web addresses of a list: source, found {self.fetch!r} with uri {self.uri!r}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig:
    """Stage *shard*. max_shard_bytes: target size of a tar. max_refused: fraction of refused images above which
    the stage fails. max_pixels: larger images are refused before they are decoded. min_side: smaller images are
    refused. alpha: colour that replaces transparency, or refuse. animated: keep the first frame, or refuse.
    holdout: fraction of photographs kept out of training, chosen by content hash and `holdout_salt`.
    max_file_bytes: larger files are refused before they are read. near_duplicates: held-out pictures that differ from
    a training picture in at most so many of the 64 bits of their perceptual hash go to training; None compares none.
    base: manifest path of an earlier image set to grow; its shards are taken over where their pictures are unchanged.
    """

    max_shard_bytes: int = 64 * MIB
    max_refused: float = 0.5
    max_pixels: int = 120_000_000
    min_side: int = 32
    alpha: Literal["white", "black", "refuse"] = "white"
    animated: Literal["first", "refuse"] = "first"
    holdout: float = 0.2
    holdout_salt: str = "lsr-1"
    max_file_bytes: int = 1024 * MIB
    near_duplicates: int | None = None
    base: str = ""

    def faults(self) -> list[str]:
        out = []
        if self.max_shard_bytes < 1024:
            out.append(f"max_shard_bytes must be at least 1024, found {self.max_shard_bytes}.")
        out += [
            f"{name} must lie in [0, 1], found {value}."
            for name, value in (("max_refused", self.max_refused), ("holdout", self.holdout))
            if not 0 <= value <= 1
        ]
        if self.min_side < 1 or self.max_pixels < self.min_side**2:
            out.append("min_side must be at least 1 and max_pixels at least min_side squared.")
        if self.max_file_bytes < 1:
            out.append(f"max_file_bytes must be at least 1, found {self.max_file_bytes}.")
        if self.near_duplicates is not None and not 0 <= self.near_duplicates <= MAX_DISTANCE:
            out.append(f"near_duplicates must lie in 0 .. {MAX_DISTANCE} or be null, found {self.near_duplicates}.")
        return out + _path_faults("base", self.base)


@dataclass(frozen=True, kw_only=True, slots=True)
class TileConfig:
    """Stage *tile*. size: tile side in pixels. stride: step between tiles. shrink: integer box reduction before
    cutting (weakens JPEG blocking). min_detail: tiles with a lower mean |dx|+|dy| (8-bit grey levels) are left out.
    max_per_image: keep at most this many tiles a photograph, the most detailed first; None keeps all.
    flips: add the left-right mirror of every tile. max_shard_bytes: target size of a tar.
    """

    size: int = 128
    stride: int = 128
    shrink: int = 1
    min_detail: float = 0.0
    max_per_image: int | None = None
    flips: bool = False
    max_shard_bytes: int = 64 * MIB

    def faults(self) -> list[str]:
        names = ("size", "stride", "shrink")
        return [f"{n} must be at least 1, found {getattr(self, n)}." for n in names if getattr(self, n) < 1]


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentsConfig:
    """Stage *latents*. degradations: each gives one cached LR condition a tile; empty for generation. A sampled
    one is not cached: training makes and encodes its condition anew for every sample.
    batch: tiles an encoder call.
    whitening: `std` divides every latent by one scalar (LDM), `channel` removes mean and std per channel.
    base: manifest path of earlier latents of the same encoder whose whitening is taken over, as a model trained on them
    needs; empty fits it anew.
    """

    degradations: tuple[DegradationConfig, ...] = ()
    batch: int = 32
    whitening: Literal["std", "channel"] = "channel"
    base: str = ""

    @property
    def cached(self) -> tuple[DegradationConfig, ...]:
        """The degradations whose conditions are cached."""
        return tuple(one for one in self.degradations if not one.sampled)

    def faults(self) -> list[str]:
        out = [] if self.batch >= 1 else [f"batch must be at least 1, found {self.batch}."]
        return out + _path_faults("base", self.base)
