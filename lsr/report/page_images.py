"""The images of a report page: encoded once each, as a gallery that is read without a script, and an index of it.

The slider takes its images from the gallery's own elements, so none is there twice.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from PIL import Image as Pillow

from lsr.evaluation.protocol import Exhibit, Image
from lsr.evaluation.rows import Evaluation
from lsr.report.tables import shown

LR, TRUTH = "LR", "truth"
LONGEST_NAME = 24
QUALITY = 90
Scores = dict[tuple[str, int, float, str], str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """One image on the page. id: of its element. source: a data address. score: its metrics in words."""

    id: str
    name: str
    source: str
    width: int
    height: int
    score: str


@dataclass(frozen=True, kw_only=True, slots=True)
class AtScale:
    """Every image of one region at one scale: LR, the systems with bicubic first, truth."""

    scale: float
    panels: tuple[Panel, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """All images by region. photos: (name, its scales). html: the gallery. Empty without exhibits."""

    photos: tuple[tuple[str, tuple[AtScale, ...]], ...]
    html: str


def gallery(exhibits: Sequence[Exhibit], evaluation: Evaluation, *, budget: int) -> Gallery:
    """The images that fit into `budget` characters, in the order given: lossless where all fit, else at WebP's
    quality 90. The gallery says which, and how many did not fit.
    """
    exact = _encoded(exhibits, lossless=True)
    lossless = sum(map(_length, exact)) <= budget
    fitting, dropped = _fitting(exact if lossless else _encoded(exhibits, lossless=False), budget)
    scores = _scores(evaluation)
    regions: dict[tuple[str, int], list[AtScale]] = {}
    low: dict[tuple[str, int], str] = {}
    for number, (exhibit, sources) in enumerate(fitting):
        place = (exhibit.photo, exhibit.crop)
        first = low.setdefault(place, f"p{number}-0")
        panels = _panels(exhibit, sources, number, first, scores)
        regions.setdefault(place, []).append(AtScale(scale=exhibit.scale, panels=panels))
    photos = tuple((_name(n, *place), tuple(scales)) for n, (place, scales) in enumerate(regions.items(), start=1))
    said = "Images are lossless." if lossless else f"Images are WebP of quality {QUALITY}, not exact."
    if dropped:
        said += f" {dropped} of {len(exhibits)} image sets did not fit on this page."
    return Gallery(photos=photos, html=_html(photos, said))


def image_index(images: Gallery) -> dict[str, Any]:
    """Plain data for the page's script: which element holds the image of which photo, scale and system."""
    return {
        "photos": [
            {
                "name": name,
                "scales": [
                    {
                        "scale": at.scale,
                        "panels": [{"name": p.name, "id": p.id, "score": p.score} for p in at.panels],
                        "size": [at.panels[-1].width, at.panels[-1].height],
                    }
                    for at in scales
                ],
            }
            for name, scales in images.photos
        ]
    }


Encoded = tuple[Exhibit, list[tuple[str, Image, str]]]


def _encoded(exhibits: Sequence[Exhibit], *, lossless: bool) -> list[Encoded]:
    """Each exhibit with (name, pixels, data address) of its images; LR, bicubic, systems by name, truth."""
    seen: dict[tuple[str, int], str] = {}
    out = []
    for exhibit in exhibits:
        place = (exhibit.photo, exhibit.crop)
        if place not in seen:
            seen[place] = _address(exhibit.lr, lossless=True)
        systems = sorted(exhibit.outputs, key=lambda name: (name != "bicubic", name))
        images = [(LR, exhibit.lr, seen[place])]
        images += [(s, exhibit.outputs[s], _address(exhibit.outputs[s], lossless=lossless)) for s in systems]
        images.append((TRUTH, exhibit.truth, _address(exhibit.truth, lossless=lossless)))
        out.append((exhibit, images))
    return out


def _address(pixels: Image, *, lossless: bool) -> str:
    buffer = io.BytesIO()
    Pillow.fromarray(pixels).save(buffer, "WEBP", lossless=lossless, quality=QUALITY, method=4)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _length(encoded: Encoded) -> int:
    return sum(len(address) for _, _, address in encoded[1])


def _fitting(encoded: Sequence[Encoded], budget: int) -> tuple[list[Encoded], int]:
    kept, used = [], 0
    for one in encoded:
        if used + _length(one) <= budget:
            used += _length(one)
            kept.append(one)
    return kept, len(encoded) - len(kept)


def _panels(
    exhibit: Exhibit, sources: list[tuple[str, Image, str]], number: int, low: str, scores: Scores
) -> tuple[Panel, ...]:
    return tuple(
        Panel(
            id=low if position == 0 else f"p{number}-{position}",
            name=name,
            source=address,
            width=pixels.shape[1],
            height=pixels.shape[0],
            score=_score(name, position, len(sources), exhibit, scores),
        )
        for position, (name, pixels, address) in enumerate(sources)
    )


def _score(name: str, position: int, count: int, exhibit: Exhibit, scores: Scores) -> str:
    height, width = exhibit.lr.shape[:2]
    if position == 0:
        return f"the input, {width} x {height} pixels"
    if position == count - 1:
        return "the photo itself"
    return scores.get((exhibit.photo, exhibit.crop, exhibit.scale, name), "")


def _scores(evaluation: Evaluation) -> Scores:
    return {
        (*row.place, row.system): ", ".join(f"{m} {shown(m, v)}" for m, v in row.values.items() if v is not None)
        for row in evaluation.rows
    }


def _name(number: int, photo: str, crop: int) -> str:
    short = photo if len(photo) <= LONGEST_NAME else f"{photo[:12]}..."
    return f"{number}: {short}" + (f", region {crop + 1}" if crop else "")


def _html(photos: Sequence[tuple[str, tuple[AtScale, ...]]], said: str) -> str:
    parts = []
    for name, scales in photos:
        seen: set[str] = set()
        lines = []
        for at in scales:
            figures = [_figure(name, at.scale, panel) for panel in at.panels if panel.id not in seen]
            seen.add(at.panels[0].id)
            lines.append(f'<h4>x{at.scale:g}</h4><div class="row">{"".join(figures)}</div>')
        parts.append(f"<h3>Photo {escape(name)}</h3>{''.join(lines)}")
    return (
        '<details id="gallery" open><summary>All images</summary>'
        f"<p>{escape(said)} Each is shown at one size, its pixels visible.</p>{''.join(parts)}</details>"
    )


def _figure(photo: str, scale: float, panel: Panel) -> str:
    alt = f"{panel.name} of photo {photo} at x{scale:g}"
    return (
        f'<figure><img id="{panel.id}" src="{panel.source}" width="{panel.width}" height="{panel.height}" '
        f'alt="{escape(alt)}"><figcaption>{escape(panel.name)}<small>{escape(panel.score)}</small></figcaption>'
        "</figure>"
    )
