"""The images of an evaluation as one file: a zip of lossless PNGs and an index, which any tool opens.

Members are numbered: the names of photos and systems are
data of others and stand in `index.json` only.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

from lsr.core.canonical import canonical_json
from lsr.core.encoding import png
from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.core.pixels import decode_rgb
from lsr.evaluation.protocol import Exhibit, Image

FORMAT = 1
INDEX = "index.json"
EPOCH = (1980, 1, 1, 0, 0, 0)
"""The earliest time that a zip can state; a fixed one makes equal images equal bytes."""


def pack_exhibits(exhibits: Sequence[Exhibit]) -> bytes:
    """A zip of every image, the LR of one region once. Equal exhibits and an equal codec give equal bytes."""
    members: dict[str, Image] = {}
    index = []
    low: dict[tuple[str, int], str] = {}
    for number, exhibit in enumerate(exhibits):
        place = (exhibit.photo, exhibit.crop)
        if place not in low:
            low[place] = f"{number:04d}/lr.png"
            members[low[place]] = exhibit.lr
        truth = f"{number:04d}/truth.png"
        members[truth] = exhibit.truth
        outputs = {}
        for position, (system, pixels) in enumerate(sorted(exhibit.outputs.items())):
            outputs[system] = f"{number:04d}/{position:02d}.png"
            members[outputs[system]] = pixels
        index.append(
            {
                "photo": exhibit.photo,
                "crop": exhibit.crop,
                "scale": exhibit.scale,
                "lr": low[place],
                "truth": truth,
                "outputs": outputs,
            }
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(zipfile.ZipInfo(INDEX, EPOCH), canonical_json({"format": FORMAT, "exhibits": index}))
        for name, pixels in members.items():
            archive.writestr(zipfile.ZipInfo(name, EPOCH), png(pixels))
    return buffer.getvalue()


def unpack_exhibits(data: bytes, where: str) -> list[Exhibit]:
    """`pack_exhibits` read back. where: what to call the bytes in an error (VersionMismatchError, IntegrityError)."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            plain = json.loads(archive.read(INDEX))
            if plain.get("format") != FORMAT:
                raise VersionMismatchError(f"The images at {where} are not of format {FORMAT}; evaluate again.")
            return [_exhibit(archive, entry, where) for entry in plain["exhibits"]]
    except (zipfile.BadZipFile, ValueError, TypeError, KeyError, AttributeError) as error:
        raise IntegrityError(f"The images at {where} cannot be read ({error}); evaluate again.") from error


def _exhibit(archive: zipfile.ZipFile, entry: dict[str, Any], where: str) -> Exhibit:
    def image(name: str) -> Image:
        return decode_rgb(archive.read(name), f"{where}/{name}")

    return Exhibit(
        photo=entry["photo"],
        crop=entry["crop"],
        scale=entry["scale"],
        lr=image(entry["lr"]),
        truth=image(entry["truth"]),
        outputs={system: image(name) for system, name in entry["outputs"].items()},
    )
