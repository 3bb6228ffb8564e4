"""Which inspected image goes into which shard, and what is skipped.

The plan removes duplicates, splits train from held-out photos and packs, all by source key order and content, so
that one source gives the same shards always. `data_prep.grow` lays it over an earlier set. What is known of the files
stays on disk; a few numbers an image are in memory.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data_prep.config import ShardConfig
from data_prep.inspection import INSPECTED, Inspected
from data_prep.likeness import reached
from data_prep.spool import Lazy, Part, Spool
from data_prep.tars import pack, tar_size
from lsr.core.canonical import canonical_json, canonical_list
from lsr.core.errors import InputError

KEY_DIGITS = 16
REASONS_SHOWN = 5
SAME_AS = "The same image as "
# What is held of each file: its key and perceptual hash as numbers, whether it is sound, drawn to be held out, has a
# caption and a label.
FACTS = np.dtype([("key", "u8"), ("phash", "u8"), *((name, "?") for name in ("sound", "held", "caption", "label"))])

Facts = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Planned:
    """One image of one shard."""

    found: Inspected
    split: str

    @property
    def key(self) -> str:
        """What its members are called."""
        return self.found.content[:KEY_DIGITS]

    def description(self) -> bytes:
        """The member `<key>.json`."""
        image = {"content": self.found.content, "width": self.found.width, "height": self.found.height}
        return canonical_json({**image, "source": self.found.item.key, "split": self.split})

    def texts(self) -> dict[str, bytes]:
        """The members beside the image: `json`, and `txt` and `cls` where the source has a caption and a label."""
        said = {"txt": self.found.item.caption, "cls": self.found.item.label}
        return {"json": self.description(), **{ext: text.encode() for ext, text in said.items() if text is not None}}

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each member."""
        return {self.found.ext: self.found.bytes, **{ext: len(text) for ext, text in self.texts().items()}}


class Images(Lazy[Planned]):
    """The images of a set. files: all that were inspected. places: which of them, in this order. held [n]: whether
    each is held out. keys [n]: of each, as a number.
    """

    def __init__(
        self, files: Sequence[Inspected], places: NDArray[np.int64], held: NDArray[np.bool_], keys: NDArray[np.uint64]
    ) -> None:
        self._files, self._places, self.held, self.keys = files, places, held, keys

    def __len__(self) -> int:
        return len(self._places)

    def at(self, place: int) -> Planned:
        return Planned(self._files[int(self._places[place])], "eval" if self.held[place] else "train")


@dataclass(frozen=True, slots=True)
class Skipped:
    """One file that is in no shard. kind: `rejected` or `duplicate`."""

    source: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which image goes into which shard, and what is skipped. images: those of all shards in order. sources:
    digest over every file's name and content."""

    images: Images
    shards: tuple[Sequence[Planned], ...]
    skipped: tuple[Skipped, ...]
    sources: str
    counts: dict[str, int]


def split_of(content: str, config: ShardConfig) -> str:
    """`train` or `eval`: a function of the image's content alone, so that an image never changes sides."""
    draw = hashlib.sha256(f"{config.holdout_salt}:{content}".encode()).digest()[:8]
    return "eval" if int.from_bytes(draw, "big") < config.holdout * 2**64 else "train"


def key_number(key: str) -> int:
    """An image's key, KEY_DIGITS hex digits, as a number."""
    return int(key, 16)


def plan(inspected: Iterable[Inspected], config: ShardConfig) -> Plan:
    """Deduplicate by content (first by source key wins), split, keep near duplicates on one side and pack.

    Raises InputError when more than `max_rejected` of the files are rejected, or all are.
    """
    files = Spool(inspected, INSPECTED, by=lambda found: (found.item.key, found.item.path, str(found.item.offset)))
    facts = np.fromiter((_facts(found, config) for found in files), FACTS, count=len(files))
    first = _first_places(facts)
    chosen = first == np.arange(len(files))
    skipped = tuple(_skipped(files, int(place), int(first[place])) for place in np.flatnonzero(~chosen))
    rejected = sum(file.kind == "rejected" for file in skipped)
    _reject_too_many(rejected, len(files), skipped, config)
    kept = facts[chosen]
    held, moved = _keep_apart(kept, config)
    images = Images(files, np.flatnonzero(chosen), held, kept["key"])
    said = {f"{name}s": int(kept[name].sum()) for name in ("caption", "label")}
    return Plan(
        images=images,
        shards=tuple(pack_images(images, config)),
        skipped=skipped,
        sources=_digest_of(files),
        counts={
            "samples": len(kept),
            "train": len(kept) - int(held.sum()),
            "eval": int(held.sum()),
            "files": len(files),
            "rejected": rejected,
            "duplicates": len(skipped) - rejected,
            **moved,
            **{name: count for name, count in said.items() if count},
        },
    )


def _facts(found: Inspected, config: ShardConfig) -> tuple[int, int, bool, bool, bool, bool]:
    said = (found.item.caption is not None, found.item.label is not None)
    if found.reason is not None:
        return (0, 0, False, False, *said)
    held = split_of(found.content, config) == "eval"
    return (key_number(found.content[:KEY_DIGITS]), int(found.phash or "0", 16), True, held, *said)


def _first_places(facts: Facts) -> NDArray[np.int64]:
    """[n] For each sound file the place of the first with its key, itself for most; -1 for a rejected one."""
    places = np.flatnonzero(facts["sound"])
    _, first, which = np.unique(facts["key"][places], return_index=True, return_inverse=True)
    found = np.full(len(facts), -1, dtype=np.int64)
    found[places] = places[first[which]]
    return found


def _skipped(files: Sequence[Inspected], place: int, first: int) -> Skipped:
    file = files[place]
    if file.reason is not None:
        return Skipped(file.item.key, "rejected", file.reason)
    original = files[first]
    if original.content == file.content:
        return Skipped(file.item.key, "duplicate", f"{SAME_AS}{original.item.key}.")
    return Skipped(file.item.key, "rejected", f"Its key {file.content[:KEY_DIGITS]} is another image's too.")


def _digest_of(files: Iterable[Inspected]) -> str:
    """sha256 of the canonical JSON [[key, sha256], ...]."""
    digest = hashlib.sha256()
    for piece in canonical_list([found.item.key, found.sha256] for found in files):
        digest.update(piece)
    return digest.hexdigest()


def pack_images(images: Sequence[Planned], config: ShardConfig) -> Iterator[Sequence[Planned]]:
    """Runs of images that fill a shard each, in the order given."""
    sizes = (tar_size(image.sizes.values()) for image in images)
    for run in pack(range(len(images)), sizes, config.max_shard_bytes):
        yield Part(images, range(run[0], run[-1] + 1))


def _keep_apart(kept: Facts, config: ShardConfig) -> tuple[NDArray[np.bool_], dict[str, int]]:
    """[n] Which images are held out: of those drawn, the ones that look like no training image; and how many do."""
    if config.near_duplicates is None:
        return kept["held"], {}
    near = reached(kept["phash"], kept["held"], config.near_duplicates)
    return kept["held"] & ~near, {"near_duplicates": int(near.sum())}


def _reject_too_many(rejected: int, files: int, skipped: Sequence[Skipped], config: ShardConfig) -> None:
    if files and rejected < files and rejected <= config.max_rejected * files:
        return
    reasons = [f"{file.source}: {file.reason}" for file in skipped if file.kind == "rejected"]
    raise InputError(
        f"{rejected} of {files} images are rejected, and at most {config.max_rejected:g} of them may be (and not all): "
        f"{' '.join(reasons[:REASONS_SHOWN])} Fix the source or raise shard.max_rejected."
    )
