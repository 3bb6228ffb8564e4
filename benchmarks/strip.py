"""The README's image, crops of held-out photos from the record of a run: `python -m benchmarks.strip HOME OUT.png`.

HOME is the LSR_HOME of a run. One line per scale: LR, bicubic, every system of the evaluation, truth, with the PSNR of
the crop. Nothing is chosen by its appearance: line i shows photo i in the evaluation's own order, going round.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from lsr.core.encoding import png
from lsr.core.errors import InputError
from lsr.core.refs import Ref
from lsr.core.settings import load_settings
from lsr.evaluation.images import Exhibit, Image, decibels
from lsr.registry.versions import resolve
from lsr.report.exhibits import unpack_exhibits
from lsr.stages.evaluate import EXHIBITS, read_evaluation
from lsr.stages.register import REFS
from lsr.store import open_store
from lsr.store.content import get_blob

PANEL, LABEL, GAP = 176, 18, 6
SCALES = (2.7, 4.0, 5.5)
TITLES = {"ours": "LSR"}


def exhibits_of(home: Path, model: str) -> list[Exhibit]:
    """The exhibits of the evaluation that `model` (`name@alias` or `name/number`) was gated on.

    Raises InputError for a version whose evaluation kept none, as one of generation.
    """
    settings = load_settings({"LSR_HOME": str(home)})
    version = resolve(settings.mlflow, model)
    store = open_store(settings.store)
    _, record = read_evaluation(store, Ref(**json.loads(version.tags[REFS])["evaluate"]))
    packed = record.blobs.get(EXHIBITS)
    if packed is None:
        raise InputError(f"The evaluation of {version} kept no exhibits; name a super-resolution version.")
    return unpack_exhibits(get_blob(store, packed.path), f"{store.uri}/{packed.path}")


def chosen(exhibits: Sequence[Exhibit], scales: Sequence[float]) -> list[Exhibit]:
    """One exhibit per scale, of the photos in turn. Raises InputError for a scale without exhibits."""
    photos = list(dict.fromkeys(exhibit.photo for exhibit in exhibits))
    out = []
    for number, scale in enumerate(scales):
        photo = photos[number % len(photos)] if photos else None
        found = [exhibit for exhibit in exhibits if exhibit.scale == scale and exhibit.photo == photo]
        if not found:
            there = sorted({exhibit.scale for exhibit in exhibits})
            raise InputError(f"The evaluation shows no crop at scale {scale:g}; name some of {there} with --scales.")
        out.append(found[0])
    return out


def strip(exhibits: Sequence[Exhibit]) -> bytes:
    """PNG with one line per exhibit: LR, bicubic, the other systems, truth, each PANEL pixels wide and not smoothed."""
    lines = [_line(exhibit) for exhibit in exhibits]
    columns = max(map(len, lines))
    size = (columns * (PANEL + GAP) + GAP, len(lines) * (PANEL + LABEL + GAP) + GAP)
    sheet = Pillow.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=12)
    for row, line in enumerate(lines):
        for column, (pixels, label) in enumerate(line):
            x, y = GAP + column * (PANEL + GAP), GAP + row * (PANEL + LABEL + GAP)
            # Nearest, also by fractions: a reader must see what was computed, not a second interpolation.
            panel = Pillow.fromarray(pixels).resize((PANEL, PANEL), Pillow.Resampling.NEAREST)
            sheet.paste(panel, (x, y))
            draw.text((x, y + PANEL + 2), label, fill="black", font=font)
    return png(np.asarray(sheet))


def _line(exhibit: Exhibit) -> list[tuple[Image, str]]:
    names = sorted(exhibit.outputs, key=lambda name: (name != "bicubic", name))
    outputs = [
        (exhibit.outputs[name], f"{TITLES.get(name, name)}  {decibels(exhibit.outputs[name], exhibit.truth):.2f} dB")
        for name in names
    ]
    low = f"LR, {exhibit.lr.shape[1]} x {exhibit.lr.shape[0]} px"
    return [(exhibit.lr, low), *outputs, (exhibit.truth, f"truth, x{exhibit.scale:g}")]


def main() -> None:
    """Write the image and say what is on it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="LSR_HOME of a run")
    parser.add_argument("out", type=Path, help="PNG to write")
    parser.add_argument("--model", default="lsr-demo@champion", help="name@alias or name/number")
    parser.add_argument("--scales", type=float, nargs="+", default=SCALES, help="one line each")
    told = parser.parse_args()
    shown = chosen(exhibits_of(told.home, told.model), told.scales)
    told.out.parent.mkdir(parents=True, exist_ok=True)
    told.out.write_bytes(strip(shown))
    for exhibit in shown:
        scores = {name: f"{decibels(made, exhibit.truth):.2f} dB" for name, made in exhibit.outputs.items()}
        print(f"{exhibit.photo[:8]} x{exhibit.scale:g}: {scores}")


if __name__ == "__main__":
    main()
