"""Stage *shard*: raw pictures -> image shards of sound originals. May import lsr.data, lsr.store, lsr.core; no Ray.

Files are inspected in chunks anywhere (`data_prep.inspection`), planned once and built into shards anywhere. The plan
removes duplicates, splits train from held-out photographs and packs, all by source key order and content, so that one
source gives the same shards always. `data_prep.grow` lays the plan over an earlier set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace

import numpy as np

from data_prep.config import ShardConfig
from data_prep.fetch import UnfetchedError
from data_prep.fetched import Fetched, is_web
from data_prep.inspection import Inspected
from data_prep.items import Item, read_item
from data_prep.likeness import reached
from data_prep.parts import once
from data_prep.soundness import Refused, inspect
from data_prep.tars import Sample, pack, store_shard, tar_size, write_tar
from lsr.core.canonical import canonical_json, canonical_list, sha256_hex
from lsr.core.config import described
from lsr.core.errors import InputError, IntegrityError
from lsr.data.index import IndexRow
from lsr.data.manifest import ShardRow
from lsr.store import Store, open_store

VERSION = 1
KEY_DIGITS = 16
REASONS_SHOWN = 5
SAME_AS = "The same picture as "
OTHER_FETCH = "Run the command again, or give source.fetch another name to take what is there now."


@dataclass(frozen=True, slots=True)
class Planned:
    """One picture of one shard."""

    found: Inspected
    split: str

    @property
    def key(self) -> str:
        """What its members are called."""
        return self.found.content[:KEY_DIGITS]

    def description(self) -> bytes:
        """The member `<key>.json`."""
        picture = {"content": self.found.content, "width": self.found.width, "height": self.found.height}
        return canonical_json({**picture, "source": self.found.item.key, "split": self.split})

    def texts(self) -> dict[str, bytes]:
        """The members beside the picture: `json`, and `txt` and `cls` where the source has a caption and a label."""
        said = {"txt": self.found.item.caption, "cls": self.found.item.label}
        return {"json": self.description(), **{ext: text.encode() for ext, text in said.items() if text is not None}}

    @property
    def sizes(self) -> dict[str, int]:
        """Bytes of each member."""
        return {self.found.ext: self.found.bytes, **{ext: len(text) for ext, text in self.texts().items()}}


@dataclass(frozen=True, slots=True)
class LeftOut:
    """One file that is in no shard. kind: `refused` or `duplicate`."""

    source: str
    kind: str
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """Which picture goes into which shard, and what is left out. sources: digest over every file's name and content."""

    shards: tuple[tuple[Planned, ...], ...]
    left_out: tuple[LeftOut, ...]
    sources: str
    counts: dict[str, int]


def split_of(content: str, config: ShardConfig) -> str:
    """`train` or `eval`: a function of the picture's content alone, so that a picture never changes sides."""
    draw = hashlib.sha256(f"{config.holdout_salt}:{content}".encode()).digest()[:8]
    return "eval" if int.from_bytes(draw, "big") < config.holdout * 2**64 else "train"


def plan(inspected: Iterable[Inspected], config: ShardConfig) -> Plan:
    """Deduplicate by content (first by source key wins), split, keep near duplicates on one side and pack.

    Raises InputError when more than `max_refused` of the files are refused, or all are.
    """
    files = sorted(inspected, key=lambda found: found.item.key)
    chosen: dict[str, Planned] = {}
    left_out: list[LeftOut] = []
    for found in files:
        key = found.content[:KEY_DIGITS]
        if found.reason is not None:
            left_out.append(LeftOut(found.item.key, "refused", found.reason))
        elif key not in chosen:
            chosen[key] = Planned(found, split_of(found.content, config))
        elif chosen[key].found.content == found.content:
            text = f"{SAME_AS}{chosen[key].found.item.key}."
            left_out.append(LeftOut(found.item.key, "duplicate", text))
        else:
            left_out.append(LeftOut(found.item.key, "refused", f"Its key {key} is another picture's too."))
    refused = sum(file.kind == "refused" for file in left_out)
    _refuse_too_many(refused, len(files), left_out, config)
    images, moved = _keep_apart(list(chosen.values()), config)
    evals = sum(image.split == "eval" for image in images)
    items = [image.found.item for image in images]
    said = {"captions": sum(i.caption is not None for i in items), "labels": sum(i.label is not None for i in items)}
    return Plan(
        shards=pack_images(images, config),
        left_out=tuple(left_out),
        sources=_digest_of(files),
        counts={
            "samples": len(images),
            "train": len(images) - evals,
            "eval": evals,
            "files": len(files),
            "refused": refused,
            "duplicates": len(left_out) - refused,
            **moved,
            **{name: count for name, count in said.items() if count},
        },
    )


def _digest_of(files: Iterable[Inspected]) -> str:
    """sha256 of the canonical JSON [[key, sha256], ...]."""
    digest = hashlib.sha256()
    for piece in canonical_list([found.item.key, found.sha256] for found in files):
        digest.update(piece)
    return digest.hexdigest()


def pack_images(images: Sequence[Planned], config: ShardConfig) -> tuple[tuple[Planned, ...], ...]:
    """Runs of pictures that fill a shard each, in the order given."""
    sizes = (tar_size(image.sizes.values()) for image in images)
    return tuple(tuple(run) for run in pack(images, sizes, config.max_shard_bytes))


def _keep_apart(images: list[Planned], config: ShardConfig) -> tuple[list[Planned], dict[str, int]]:
    """Held-out pictures that look like a training picture, put into training too; and the count of them."""
    if config.near_duplicates is None:
        return images, {}
    looks = np.array([int(image.found.look, 16) for image in images], dtype=np.uint64)
    held = np.array([image.split == "eval" for image in images], dtype=bool)
    near = reached(looks, held, config.near_duplicates)
    kept = [replace(image, split="train") if moved else image for image, moved in zip(images, near)]
    return kept, {"near_duplicates": int(near.sum())}


def _refuse_too_many(refused: int, files: int, left_out: Sequence[LeftOut], config: ShardConfig) -> None:
    if files and refused < files and refused <= config.max_refused * files:
        return
    reasons = [f"{file.source}: {file.reason}" for file in left_out if file.kind == "refused"]
    raise InputError(
        f"{refused} of {files} pictures are refused, and at most {config.max_refused:g} of them may be (and not all): "
        f"{' '.join(reasons[:REASONS_SHOWN])} Mend the source or raise shard.max_refused."
    )


def build_image_shard(
    store: Store, root: str, images: Sequence[Planned], config: ShardConfig
) -> tuple[bytes, list[IndexRow]]:
    """The tar of these pictures and its index rows. Members `<key>.<ext>`, `<key>.json` and captions and labels.

    Raises InputError when a file is not what was inspected, IntegrityError when this machine decodes it otherwise.
    """
    samples = []
    web = Fetched(store, config.max_file_bytes)
    for image in images:
        found = image.found
        members = {found.ext: _archived(root, image, config, web), **image.texts()}
        samples.append(Sample(image.key, found.item.key, image.split, found.width, found.height, members))
    return write_tar(samples)


def _read_again(root: str, item: Item, web: Fetched) -> bytes:
    if not is_web(item):
        return read_item(root, item)
    try:
        return web.read(item)
    except UnfetchedError as error:
        raise InputError(f"{item.key} cannot be had again: {error} {OTHER_FETCH}") from error


def _archived(root: str, image: Planned, config: ShardConfig, web: Fetched) -> bytes:
    found = image.found
    data = _read_again(root, found.item, web)
    if sha256_hex(data) != found.sha256:
        what = OTHER_FETCH if is_web(found.item) else "Run the command again."
        raise InputError(f"{found.item.key} in {root} changed since it was inspected. {what}")
    if not found.changed:
        return data
    sound = inspect(data, config)
    if isinstance(sound, Refused) or sound.content != found.content:
        raise IntegrityError(
            f"{found.item.key} in {root} decodes to other pixels here than where it was inspected; "
            "install the same versions of Pillow on all machines."
        )
    return sound.data


def build_shard_to_store(store_uri: str, root: str, images: Sequence[Planned], config: ShardConfig) -> ShardRow:
    """Build one planned shard and put it into the store; remembered, so that a second call costs a look-up."""
    store = open_store(store_uri)

    def make() -> dict[str, object]:
        return {"shards": [asdict(store_shard(store, *build_image_shard(store, root, images, config)))]}

    request = sha256_hex(canonical_json([[image.found.plain(), image.split] for image in images]))
    rules = replace(config, base="", near_duplicates=None)
    result = once(store, "shard.build", VERSION, {"images": request}, described(rules), make)
    return ShardRow(**result["shards"][0])
