"""Images inside WebDataset tars that somebody else wrote.

Headers and short texts are read, images are not; of a tar in S3 one window at a time is held.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO
from urllib.parse import unquote

from data_prep.items import Item, local_file, place_of, remote, shown
from data_prep.ranged import open_ranged
from lsr.data.pixels import IMAGE_SUFFIXES
from lsr.data.shards import member_offsets

MAX_TEXT = 64 << 10


@dataclass(slots=True)
class _Sample:
    images: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)


def list_tar(root: str, tar: Item) -> Iterator[Item]:
    """The images of one tar with the caption (`.txt`) and label (`.cls`) of their sample.

    Raises IntegrityError naming a tar that is cut short or damaged.
    """
    with _opened(root, tar) as stream:
        members = member_offsets(stream, f"{root}/{tar.key}")
        for sample in _samples(members).values():
            said = {name: _text(stream, *members[name]) for name in sample.texts.values()}
            caption, label = (said.get(sample.texts.get(ext, "")) for ext in ("txt", "cls"))
            for name in _plain_images(sample.images):
                offset, size = members[name]
                key = f"{tar.key}/{shown(name.encode('utf-8', 'surrogateescape'))}"
                yield Item(key, size, tar.pin, tar.path, offset, caption, label)


def _opened(root: str, tar: Item) -> BinaryIO:
    base, path = place_of(root, tar.path)
    if not base.startswith("s3://"):
        return open(local_file(root, tar), "rb")
    return open_ranged(remote(base), unquote(path), tar.size)


def _samples(members: dict[str, tuple[int, int]]) -> dict[str, _Sample]:
    found: dict[str, _Sample] = {}
    for name in members:
        folder, _, base = name.rpartition("/")
        stem, _, ext = base.partition(".")
        if base.startswith("."):
            continue
        sample = found.setdefault(f"{folder}/{stem}", _Sample())
        if ext.rpartition(".")[2].lower() in IMAGE_SUFFIXES:
            sample.images.append(name)
        elif ext in ("txt", "cls"):
            sample.texts[ext] = name
    return {key: sample for key, sample in found.items() if sample.images}


def _text(stream: BinaryIO, offset: int, size: int) -> str | None:
    """A short text; None for one that is too long or no UTF-8, which is then no caption."""
    if size > MAX_TEXT:
        return None
    stream.seek(offset)
    try:
        return stream.read(size).decode()
    except UnicodeDecodeError:
        return None


def _plain_images(names: Sequence[str]) -> Sequence[str]:
    """Of one sample: the photo itself rather than masks such as `<key>.seg.png`."""
    return [name for name in names if name.rsplit("/", 1)[-1].count(".") == 1] or names
