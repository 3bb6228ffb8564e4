"""Where sets are on this machine: bundled ones in the package, fetched ones in `cache/sets/NAME`.

A fetched set appears by one rename, so a folder that is there is whole; its CREDITS.md repeats the pins it was made
from, so a folder made from other pins counts as absent.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lsr.assets.catalog import SETS, NamedSet
from lsr.assets.packages import fetch
from lsr.core.errors import NotFoundError
from lsr.core.progress import Progress, Quiet

HERE = Path(__file__).parent
SUFFIXES = {".jpg", ".png"}


@dataclass(frozen=True, kw_only=True, slots=True)
class SetInfo:
    """One line of `lsr data sets`. images: 0 for metric weights. bytes: what is downloaded (bundled: what is on disk).
    source: the packages it comes from.
    """

    name: str
    description: str
    licence: str
    images: int
    bytes: int
    source: str


BUNDLED = {
    "photos": (
        "Bundled photos for the demo: nature, animals, people, architecture, texture; at most 1024 pixels.",
        "CC0, CC-BY or public domain, per file in its CREDITS.md",
    ),
    "thumbnails": (
        "Bundled small images (48 to 120 pixels) of photos that are not in `photos`, to be upscaled.",
        "CC0 or CC-BY, per file in its CREDITS.md",
    ),
}


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)


def _bundled_info(name: str) -> SetInfo:
    description, licence = BUNDLED[name]
    files = _images(HERE / name)
    size = sum(path.stat().st_size for path in files)
    return SetInfo(
        name=name, description=description, licence=licence, images=len(files), bytes=size, source="in this package"
    )


def available() -> list[SetInfo]:
    """Every named set, bundled ones first; no network."""
    packaged = [
        SetInfo(
            name=spec.name,
            description=spec.description,
            licence=spec.licence,
            images=spec.images,
            bytes=sum(source.package.bytes for source in spec.sources),
            source=", ".join(source.package.label for source in spec.sources),
        )
        for spec in SETS
    ]
    return [_bundled_info(name) for name in BUNDLED] + packaged


def _find(name: str) -> NamedSet:
    for spec in SETS:
        if spec.name == name:
            return spec
    names = ", ".join([*BUNDLED, *(spec.name for spec in SETS)])
    raise NotFoundError(f"There is no set {name!r}; there are {names}.")


def _is_current(folder: Path, spec: NamedSet) -> bool:
    try:
        return (folder / "CREDITS.md").read_text(encoding="utf-8") == spec.credits()
    except OSError:
        return False


def resolve(name: str, cache: Path) -> Path:
    """The folder that holds set `name`. Reads the disk only.

    Raises NotFoundError when there is no such set (it lists what there is) or it is not on this machine yet.
    """
    if name in BUNDLED:
        return HERE / name
    spec = _find(name)
    folder = cache / "sets" / name
    if not _is_current(folder, spec):
        size = sum(source.package.bytes for source in spec.sources) / 1e6
        raise NotFoundError(
            f"Set {name} is not on this machine (looked in {folder}); run `lsr data get {name}` ({size:.0f} MB)."
        )
    return folder


def get(name: str, cache: Path, progress: Progress | None = None) -> Path:
    """The folder that holds set `name`, fetched first where it is not there yet.

    Raises NotFoundError for an unknown name, a missing client (pip, npm, apt-get) or a failed download, IntegrityError
    for bytes that are not the pinned ones. What an interrupted call leaves is never taken for the set.
    """
    if name in BUNDLED:
        return HERE / name
    spec, folder = _find(name), cache / "sets" / name
    if _is_current(folder, spec):
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder.parent) as scratch:
        made = Path(scratch) / "set"
        made.mkdir()
        _fetch_and_make(spec, Path(scratch), made, progress or Quiet())
        _publish(made, folder, spec)
    return folder


def _fetch_and_make(spec: NamedSet, scratch: Path, made: Path, progress: Progress) -> None:
    from lsr.assets.make import make

    with progress.task(f"get {spec.name}", len(spec.sources) + 1, "steps") as task:
        archives = {}
        for number, source in enumerate(spec.sources):
            place = scratch / str(number)
            place.mkdir()
            archives[source.package.archive] = fetch(source.package, place)
            task.advance(note=source.package.name)
        make(spec, archives, made)
        task.advance(note="written")


def _publish(made: Path, folder: Path, spec: NamedSet) -> None:
    """Put the finished folder in its place; a set made by somebody else meanwhile is kept, a stale one replaced."""
    if folder.exists() and not _is_current(folder, spec):
        stale = made.parent / "stale"
        os.rename(folder, stale)
        shutil.rmtree(stale)
    try:
        os.rename(made, folder)
    except OSError:
        if not _is_current(folder, spec):
            raise
