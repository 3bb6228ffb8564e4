"""One file that carries objects between machines: an uncompressed tar with `head.json` first, which names the sha256 of
every member. Members are `store/<key>`, `cache/<path>` and `output/<path>`; nothing else is unpacked.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from data_prep.tars import pack, tar_size
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import InputError, IntegrityError
from lsr.core.settings import Settings
from lsr.store import open_store
from lsr.store.base import check_key
from lsr.store.content import create_once

HEAD = "head.json"
FORMAT = 1
MIB = 1 << 20
ROOMS = ("store", "cache", "output")

# Bytes that a file takes besides its members: its head without their lines, and the records that end a tar.
EMPTY, HEAD_LINE = 12 << 10, 256


def write_parts(
    folder: Path,
    stem: str,
    members: Mapping[str, bytes],
    facts: Mapping[str, Any],
    *,
    limit: int,
    parts: int,
    lower: str,
) -> list[Path]:
    """Write `members` into at most `parts` files `<stem>-<i>.tar` of at most `limit` bytes each; equal members give
    equal bytes. facts: written into every head. lower: what to lower, for the error.

    Raises InputError when they do not fit, before anything is written.
    """
    sizes = [tar_size([len(data)]) + HEAD_LINE for data in members.values()]
    room = limit - EMPTY - len(canonical_json(dict(facts)))
    files = [_tar(dict(run), facts) for run in pack(members.items(), sizes, room)]
    largest, total = max(map(len, files)), sum(map(len, files))
    if len(files) > parts or largest > limit:
        raise InputError(
            f"What {stem} carries takes {total / MIB:.1f} MiB, its largest member {largest / MIB:.1f}; at most {parts} "
            f"file(s) of {limit / MIB:g} MiB may travel. Lower {lower}."
        )
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{stem}-{number}.tar" for number in range(len(files))]
    for path, data in zip(paths, files):
        path.write_bytes(data)
    return paths


def unpack(path: Path, settings: Settings) -> dict[str, Any]:
    """Put the file's members where they belong below `settings`; returns the head's facts. Nothing is written before
    every member was checked.

    Raises IntegrityError for a file that is damaged or holds what its head does not name, InputError for a member that
    would lie elsewhere.
    """
    facts, members = read(path)
    places = {name: _place(name) for name in members}
    store = open_store(settings.store)
    for name, data in members.items():
        room, key = places[name]
        if room == "store":
            create_once(store, key, data)
            continue
        target = (settings.cache if room == "cache" else settings.output) / key
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
    return facts


def read(path: Path) -> tuple[dict[str, Any], dict[str, bytes]]:
    """The head's facts and the members, each checked against its sha256. Raises IntegrityError."""
    try:
        found = dict(_files(path))
        head = json.loads(found.pop(HEAD))
        digests, facts = dict(head["members"]), dict(head["facts"])
    except (tarfile.TarError, KeyError, ValueError, TypeError, EOFError) as error:
        raise IntegrityError(f"{path} is not a whole carried file ({error}); copy it again.") from error
    if head.get("format") != FORMAT or sha256_hex(canonical_json([digests, facts])) != head.get("seal"):
        raise IntegrityError(f"{path} has a head that was damaged, or of another format than {FORMAT}; copy it again.")
    lost = sorted(digests.keys() ^ found.keys())
    wrong = lost or [name for name, data in found.items() if sha256_hex(data) != digests[name]]
    if wrong:
        raise IntegrityError(f"{path} was damaged: {wrong[0]} does not have the sha256 in its head; copy it again.")
    return facts, found


def _files(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            file = archive.extractfile(member) if member.isfile() else None
            if file is None:
                raise tarfile.TarError(f"{member.name} is not a plain file")
            yield member.name, file.read()


def _place(name: str) -> tuple[str, str]:
    room, _, key = name.partition("/")
    if room not in ROOMS:
        raise InputError(f"A carried file holds {', '.join(ROOMS)} only, found the member {name!r}.")
    return room, check_key(key)


def _tar(members: Mapping[str, bytes], facts: Mapping[str, Any]) -> bytes:
    digests = {name: sha256_hex(data) for name, data in members.items()}
    seal = sha256_hex(canonical_json([digests, dict(facts)]))
    head = {"format": FORMAT, "facts": dict(facts), "members": digests, "seal": seal}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in {HEAD: canonical_json(head), **members}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return out.getvalue()
