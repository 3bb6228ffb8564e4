"""An evaluation as pictures: the contact sheet and the curve over scales."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

from lsr.core.encoding import png
from lsr.core.errors import InputError
from lsr.evaluation.pictures import Exhibit, Image, decibels
from lsr.evaluation.rows import Evaluation, systems_of
from lsr.report.tables import means

PANEL = 192
LABEL = 16
GAP = 4
WIDEST = 9
COLOURS = 10
"""Lines that matplotlib draws before it begins again with the first colour."""
LINE_STYLES = ("-", "--", ":", "-.")


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
    """PNG with one line a picture: LR (nearest), each system with its PSNR, truth; all at one size on paper. A line of
    more than WIDEST panels goes on below.

    Raises InputError without exhibits.
    """
    if not exhibits:
        raise InputError("A contact sheet needs at least one picture; the evaluation showed none.")
    return _sheet([_panels(exhibit) for exhibit in exhibits])


def image_sheet(images: Sequence[Sequence[Image]]) -> bytes:
    """PNG with one line a sample: its pictures at every size, each at its own size on the same panel."""
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


def curve(evaluation: Evaluation, metric: str = "psnr") -> bytes:
    """PNG plot of `metric` over scale, a line a system, the trained range shaded.

    Raises InputError when the metric was not computed.
    """
    found = [m for m in means(evaluation) if m.metric == metric and m.value is not None]
    if not found:
        raise InputError(f"{metric} was not computed in this evaluation, so there is no curve of it.")
    systems = systems_of(evaluation.rows)
    # One column of names beside the axes, however many there are.
    figure, axes = _plot(width=8, height=max(4.0, 1 + len(systems) / 5))
    for number, system in enumerate(systems):
        points = [(m.scale, m.value) for m in found if m.system == system and m.value is not None]
        style = LINE_STYLES[number // COLOURS % len(LINE_STYLES)]
        axes.plot([p[0] for p in points], [p[1] for p in points], style, marker="o", label=system)
    if trained := evaluation.facts.get("trained"):
        axes.axvspan(trained[0], trained[1], alpha=0.1, label="trained range")
    axes.set(xlabel="scale", ylabel=metric, title=f"{metric} by scale")
    figure.legend(loc="outside right upper")
    return _plotted(figure)


def histogram(counts: Sequence[float], edges: Sequence[float], label: str) -> bytes:
    """PNG bar chart of `counts` between `edges` (one more than counts)."""
    figure, axes = _plot(height=3)
    axes.stairs(counts, edges, fill=True)
    axes.set(xlabel=label, ylabel="draws")
    return _plotted(figure)


def _plot(*, width: float = 6, height: float) -> tuple[Any, Any]:
    """A figure of its own, without pyplot's global state, and its axes. width, height: in inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def _plotted(figure: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()
