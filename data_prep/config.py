"""Configs of the data stages: where images come from, how they are sharded, cut into tiles and encoded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Le

from lsr.core.config import Config, Fraction, NonNegative, Positive
from lsr.data.config import DegradationConfig

MIB = 1 << 20

# Raised when a stage's output changes for equal input: part of the stage's key and of those of its shards.
SHARD_VERSION = 5
TILE_VERSION = 2
LATENTS_VERSION = 2

MAX_DISTANCE = 10
ShardBytes = Annotated[int, Ge(1024)]

_MANIFEST = re.compile(r"datasets/[A-Za-z0-9._-]+/[0-9a-f]{64}\.json")
# What every store and file system takes as one part of a key.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def _path_faults(name: str, path: str) -> list[str]:
    known = not path or _MANIFEST.fullmatch(path)
    return [] if known else [f"{name} must be a manifest path, datasets/<name>/<digest>.json, found {path!r}."]


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceConfig(Config):
    """Raw images."""

    uri: str
    """A folder, `s3://bucket/prefix`, `tar:` + a folder or prefix of WebDataset tars, `list:` + a CSV, JSONL or Parquet
    file of addresses, or `set:NAME` (a packaged set, see `lsr data sets`)."""
    name: str
    """What the data set is called in the store."""
    fetch: str = ""
    """Lets a list name http and https addresses, and names what they give, a date for example: under one name an
    address is fetched once, under another anew."""

    def faults(self) -> list[str]:
        out = []
        if not self.uri:
            out.append("uri must name a folder, an s3:// prefix, tar:..., list:... or set:NAME, found an empty string.")
        if not _NAME.fullmatch(self.name):
            out.append(
                f"name must be 1 to 100 letters, digits, '.', '_' or '-' and start with a letter or digit, found "
                f"{self.name!r}."
            )
        if self.fetch and not self.uri.startswith("list:"):
            out.append(f"fetch is for the web addresses of a list: source, found {self.fetch!r} with uri {self.uri!r}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardConfig(Config):
    """Stage *shard*: which raw images are accepted, how they are packed, which photos are held out."""

    max_shard_bytes: ShardBytes = 64 * MIB
    """Target size of a tar in bytes."""
    max_rejected: Fraction = 0.5
    """Fraction of rejected images above which the stage fails."""
    max_pixels: Positive = 120_000_000
    """Larger images are rejected before they are decoded."""
    min_side: Positive = 32
    """Images with a smaller side in pixels are rejected."""
    alpha: Literal["white", "black", "reject"] = "white"
    """The colour that replaces transparency, or reject the image."""
    animated: Literal["first", "reject"] = "first"
    """Keep the first frame of an animation, or reject the image."""
    holdout: Fraction = 0.2
    """Fraction of photos kept out of training, chosen by content hash and `holdout_salt`."""
    holdout_salt: str = "lsr-1"
    """Another salt holds out other photos."""
    max_file_bytes: Positive = 1024 * MIB
    """Larger files are rejected before they are read."""
    near_duplicates: Annotated[int, Ge(0), Le(MAX_DISTANCE)] | None = None
    """Held-out images that differ from a training image in at most so many of the 64 bits of their perceptual hash go
    to training; null compares none."""
    base: str = ""
    """Manifest path of an earlier image set to grow; its shards are taken over where their images are unchanged."""

    def faults(self) -> list[str]:
        out = _path_faults("base", self.base)
        if self.max_pixels < self.min_side**2:
            out.append(f"max_pixels must be at least min_side squared, found {self.max_pixels} and {self.min_side}.")
        return out


@dataclass(frozen=True, kw_only=True, slots=True)
class TileConfig(Config):
    """Stage *tile*: fixed-size training tiles."""

    size: Positive = 128
    """Tile side in pixels."""
    stride: Positive = 128
    """Step between tiles in pixels."""
    shrink: Positive = 1
    """Integer box reduction before cutting, which weakens JPEG blocking."""
    min_detail: NonNegative = 0.0
    """Tiles with a lower mean |dx|+|dy| (8-bit grey levels) are skipped."""
    max_per_image: Positive | None = None
    """Keep at most this many tiles per photo, the most detailed first; null keeps all."""
    flips: bool = False
    """Add the left-right mirror of every tile."""
    max_shard_bytes: ShardBytes = 64 * MIB
    """Target size of a tar in bytes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LatentsConfig(Config):
    """Stage *latents*: every tile and its LR condition, encoded once."""

    degradations: tuple[DegradationConfig, ...] = ()
    """Each gives one cached LR condition per tile; empty for generation. A sampled one is not cached: training makes
    and encodes its condition anew for every sample."""
    whitening: Literal["std", "channel"] = "channel"
    """`std` divides every latent by one scalar (LDM), `channel` removes mean and std per channel."""
    base: str = ""
    """Manifest path of earlier latents of the same encoder whose whitening is taken over, as a model trained on them
    needs; empty fits it anew."""

    @property
    def cached(self) -> tuple[DegradationConfig, ...]:
        """The degradations whose conditions are cached."""
        return tuple(one for one in self.degradations if not one.sampled)

    def faults(self) -> list[str]:
        return _path_faults("base", self.base)
