"""An evaluation as pictures: the contact sheet and the curve over scales. Imports Pillow, and matplotlib lazily."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from lsr.core.errors import InputError
from lsr.evaluation.pictures import Exhibit, Image, decibels
from lsr.evaluation.report import means
from lsr.evaluation.rows import Evaluation, systems_of

PANEL = 192
LABEL = 16
GAP = 4


def _panel(pixels: Image, label: str) -> Pillow.Image:
    """A PANEL-wide picture (nearest, so that pixels stay visible) above its label."""
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
    """PNG with one line a picture: LR (nearest), each system with its PSNR, truth; all at one size on paper.

    Raises InputError without exhibits.
    """
    if not exhibits:
        raise InputError("A contact sheet needs at least one picture; the evaluation showed none.")
    lines = [_panels(exhibit) for exhibit in exhibits]
    columns = max(len(line) for line in lines)
    step_x, step_y = PANEL + GAP, PANEL + LABEL + GAP
    sheet = Pillow.new("RGB", (columns * step_x + GAP, len(lines) * step_y + GAP), "white")
    for y, line in enumerate(lines):
        for x, panel in enumerate(line):
            sheet.paste(panel, (GAP + x * step_x, GAP + y * step_y))
    return png(sheet)


def image_sheet(images: Sequence[Sequence[Image]]) -> bytes:
    """PNG with one line a sample: its pictures at every size, each at its own size on the same panel."""
    if not images:
        raise InputError("A sheet of samples needs at least one sample.")
    step_y = PANEL + LABEL + GAP
    width = max(len(line) for line in images) * (PANEL + GAP) + GAP
    sheet = Pillow.new("RGB", (width, len(images) * step_y + GAP), "white")
    for y, line in enumerate(images):
        for x, pixels in enumerate(line):
            label = f"{pixels.shape[1]} x {pixels.shape[0]}"
            sheet.paste(_panel(pixels, label), (GAP + x * (PANEL + GAP), GAP + y * step_y))
    return png(sheet)


def thumbnails(images: Sequence[Image], *, side: int = 128, columns: int = 8) -> Image:
    """uint8 [H, W, 3]: the pictures in reading order, each reduced to fit a square of `side` pixels, never enlarged."""
    step = side + GAP
    lines = -(-len(images) // columns)
    sheet = Pillow.new("RGB", (min(columns, len(images)) * step + GAP, lines * step + GAP), "white")
    for number, pixels in enumerate(images):
        picture = Pillow.fromarray(pixels)
        picture.thumbnail((side, side))
        line, column = divmod(number, columns)
        sheet.paste(picture, (GAP + column * step, GAP + line * step))
    return np.asarray(sheet)


def png(image: Pillow.Image) -> bytes:
    """PNG bytes of a picture."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def curve(evaluation: Evaluation, metric: str = "psnr") -> bytes:
    """PNG plot of `metric` over scale, a line a system, the trained range shaded.

    Raises InputError when the metric was not computed.
    """
    found = [m for m in means(evaluation) if m.metric == metric and m.value is not None]
    if not found:
        raise InputError(f"{metric} was not computed in this evaluation, so there is no curve of it.")
    figure, axes = _plot(height=4)
    for system in systems_of(evaluation.rows):
        points = [(m.scale, m.value) for m in found if m.system == system and m.value is not None]
        axes.plot([p[0] for p in points], [p[1] for p in points], marker="o", label=system)
    if trained := evaluation.facts.get("trained"):
        axes.axvspan(trained[0], trained[1], alpha=0.1, label="trained range")
    axes.set(xlabel="scale", ylabel=metric, title=f"{metric} by scale")
    axes.legend()
    return _plotted(figure)


def histogram(counts: Sequence[float], edges: Sequence[float], label: str) -> bytes:
    """PNG bar chart of `counts` between `edges` (one more than counts)."""
    figure, axes = _plot(height=3)
    axes.stairs(counts, edges, fill=True)
    axes.set(xlabel=label, ylabel="draws")
    return _plotted(figure)


def _plot(height: float) -> tuple[Any, Any]:
    """A figure of its own, without pyplot's global state, and its axes. height: in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _plotted(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
