"""Images for people: the contact sheet of an evaluation, sheets of samples and a histogram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from lsr.core.encoding import png
from lsr.core.errors import InputError
from lsr.evaluation.images import Exhibit, Image, decibels

PANEL = 192
LABEL = 16
GAP = 4
WIDEST = 9
BAR = 16
"""Width in pixels of a bar of a histogram."""


def _panel(pixels: Image, label: str) -> Pillow.Image:
    """A PANEL-wide image (nearest, so that pixels stay visible) above its label."""
    out = Pillow.new("RGB", (PANEL, PANEL + LABEL), "white")
    out.paste(Pillow.fromarray(pixels).resize((PANEL, PANEL), Pillow.Resampling.NEAREST))
    ImageDraw.Draw(out).text((2, PANEL + 1), label, fill="black", font=ImageFont.load_default(size=12))
    return out


def _panels(exhibit: Exhibit) -> list[Pillow.Image]:
    names = sorted(exhibit.outputs, key=lambda name: (name != "bicubic", name))
    where = f"{exhibit.photo[:8]} #{exhibit.crop}"
    outputs = [
        _panel(exhibit.outputs[name], f"{name} {decibels(exhibit.outputs[name], exhibit.truth):.2f} dB")
        for name in names
    ]
    return [_panel(exhibit.lr, f"LR {where}"), *outputs, _panel(exhibit.truth, f"truth x{exhibit.scale:g}")]


def contact_sheet(exhibits: Sequence[Exhibit]) -> bytes:
    """PNG with one line an image: LR (nearest), each system with its PSNR, truth; all at one size on paper. A line of
    more than WIDEST panels continues below.

    Raises InputError without exhibits.
    """
    if not exhibits:
        raise InputError("A contact sheet needs at least one image; the evaluation showed none.")
    return _sheet([_panels(exhibit) for exhibit in exhibits])


def image_sheet(images: Sequence[Sequence[Image]]) -> bytes:
    """PNG with one line a sample: its images at every size, each at its own size on the same panel."""
    if not images:
        raise InputError("A sheet of samples needs at least one sample.")
    return _sheet([[_panel(pixels, f"{pixels.shape[1]} x {pixels.shape[0]}") for pixels in line] for line in images])


def _sheet(lines: Sequence[Sequence[Pillow.Image]]) -> bytes:
    """PNG of panels, line by line."""
    lines = [line[start : start + WIDEST] for line in lines for start in range(0, len(line), WIDEST)]
    step_x, step_y = PANEL + GAP, PANEL + LABEL + GAP
    columns = max(len(line) for line in lines)
    sheet = Pillow.new("RGB", (columns * step_x + GAP, len(lines) * step_y + GAP), "white")
    for y, line in enumerate(lines):
        for x, panel in enumerate(line):
            sheet.paste(panel, (GAP + x * step_x, GAP + y * step_y))
    return png(np.asarray(sheet))


def thumbnails(images: Sequence[Image], *, side: int = 128, columns: int = 8) -> Image:
    """uint8 [H, W, 3]: the images in reading order, each reduced to fit a square of `side` pixels, never enlarged."""
    step = side + GAP
    lines = -(-len(images) // columns)
    sheet = Pillow.new("RGB", (min(columns, len(images)) * step + GAP, lines * step + GAP), "white")
    for number, pixels in enumerate(images):
        image = Pillow.fromarray(pixels)
        image.thumbnail((side, side))
        line, column = divmod(number, columns)
        sheet.paste(image, (GAP + column * step, GAP + line * step))
    return np.asarray(sheet)


def histogram(counts: Sequence[int], edges: Sequence[float], label: str) -> Image:
    """uint8 [H, W, 3]: `counts` as bars between `edges` (one more than counts), limits and highest count in words."""
    width, height = len(counts) * BAR, PANEL
    out = Pillow.new("RGB", (width + 2 * GAP, height + 2 * LABEL), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(size=12)
    highest = max(1, *counts)
    floor = LABEL + height
    for number, count in enumerate(counts):
        left = GAP + number * BAR
        draw.rectangle((left, floor - round(count / highest * height), left + BAR - 2, floor), fill="steelblue")
    draw.text((GAP, 1), f"{highest} draws", fill="black", font=font)
    draw.text((GAP, floor + 1), f"{edges[0]:g} to {edges[-1]:g}: {label}", fill="black", font=font)
    return np.asarray(out)
