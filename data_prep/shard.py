"""Stage *shard*: planned images -> image shards of sound originals.

Files are inspected in chunks anywhere (`data_prep.inspection`), planned once (`data_prep.planning`) and built into
shards anywhere. Inspection decodes every file once. Building reads the bytes again, compares their digest and decodes
only what is archived as another file: the encoded PNGs of all inspected files would take more disk than that takes
time, and most inspected files are archived as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

from data_prep.config import SHARD_VERSION, ShardConfig
from data_prep.fetch import UnfetchedError
from data_prep.fetched import Fetched, is_web
from data_prep.items import Item, read_item
from data_prep.parts import once
from data_prep.planning import Planned
from data_prep.soundness import Rejected, inspect
from data_prep.tars import Sample, store_shard, write_tar
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.core.errors import InputError, IntegrityError
from lsr.data.index import IndexRow
from lsr.data.manifest import ShardRow
from lsr.store import Store, open_store

OTHER_FETCH = "Run the command again, or give source.fetch another name to take what is there now."


def build_image_shard(
    store: Store, root: str, images: Sequence[Planned], config: ShardConfig
) -> tuple[bytes, list[IndexRow]]:
    """The tar of these images and its index rows. Members `<key>.<ext>`, `<key>.json` and captions and labels.

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
    if isinstance(sound, Rejected) or sound.content != found.content:
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
    result = once(store, "shard.build", SHARD_VERSION, {"images": request}, as_plain(rules), make)
    return ShardRow(**result["shards"][0])
