"""The report page: one HTML file that needs no network, with images to compare, curves, the table and the lineage.

The page is data made visible: every text is escaped, and its own policy lets nothing run or load but its one script,
its one style sheet and the images inside it. Equal contents give equal bytes.
"""

from __future__ import annotations

import base64
import hashlib
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from PIL import Image as Pillow

from lsr.evaluation.bootstrap import Interval
from lsr.evaluation.metrics import metric as metric_of
from lsr.evaluation.protocol import Exhibit
from lsr.evaluation.rows import Evaluation, metrics_of, systems_of
from lsr.evaluation.verdict import Verdict
from lsr.report.chart import chart, swatch
from lsr.report.page_images import Gallery, gallery, image_index
from lsr.report.tables import NOT_COMPUTED, intervals, shown, summary

BUDGET = 4_000_000
"""Characters of images on a page: what opens at once on a phone and passes through a mail."""

CONFIDENCE = 0.95
Facts = Sequence[tuple[str, str]]
Cells = Mapping[tuple[float, str, str], Interval | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Content:
    """What a page shows. lead: one sentence below the title. exhibits: images for the slider, none for generation.
    figures: PNG bytes by caption, shown as they are. lineage: (name, value) pairs by heading. notes: sentences.
    """

    title: str
    lead: str
    evaluation: Evaluation
    exhibits: Sequence[Exhibit] = ()
    figures: Mapping[str, bytes] = field(default_factory=dict)
    verdict: Verdict | None = None
    lineage: Mapping[str, Facts] = field(default_factory=dict)
    notes: Sequence[str] = ()


def page(content: Content, *, budget: int = BUDGET) -> bytes:
    """The whole page as UTF-8. budget: characters that images may take; those that do not fit are dropped, which
    the page says.
    """
    images = gallery(content.exhibits, content.evaluation, budget=budget)
    style, script = _resource("page.css"), _resource("page.js")
    html = Template(_resource("page.html")).substitute(
        policy=escape(_policy(style, script)),
        style=style,
        script=script,
        title=escape(content.title),
        lead=escape(content.lead),
        verdict_line=_verdict_line(content.verdict),
        images=_images(images, content.figures),
        curves=_curves(content.evaluation),
        table=_table(content.evaluation),
        remarks=_list([*summary(content.evaluation), *content.notes]),
        verdict=_verdict(content.verdict),
        lineage=_lineage(content.lineage),
        data=embedded_json(image_index(images)),
    )
    # A lone surrogate, which a file name may hold, has no UTF-8 form.
    return html.encode("utf-8", "replace")


def embedded_json(value: Any) -> str:
    """JSON that cannot end the script element that it stands in: ASCII without `<`, `>` and `&`."""
    text = json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def _resource(name: str) -> str:
    return files("lsr.report").joinpath(name).read_text("utf-8")


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy that allows exactly this style sheet, this script and images within the page."""

    def source(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    return (
        f"default-src 'none'; img-src data:; style-src {source(style)}; script-src {source(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _images(images: Gallery, figures: Mapping[str, bytes]) -> str:
    parts = [images.html] if images.photos else []
    for caption, data in figures.items():
        with Pillow.open(io.BytesIO(data)) as image:
            width, height = image.size
        source = f"data:image/png;base64,{base64.b64encode(data).decode()}"
        parts.append(
            f'<figure class="sheet"><img src="{source}" width="{width}" height="{height}" alt="{escape(caption)}">'
            f"<figcaption>{escape(caption)}</figcaption></figure>"
        )
    return "".join(parts) or "<p>This evaluation keeps no images.</p>"


def _curves(evaluation: Evaluation) -> str:
    cells = intervals(evaluation, confidence=CONFIDENCE)
    systems = systems_of(evaluation.rows)
    trained = evaluation.facts.get("trained")
    out = []
    for metric in metrics_of(evaluation.rows):
        series = {system: _points(cells, system, metric) for system in systems}
        drawing = chart(metric, series, trained=(trained[0], trained[1]) if trained else None)
        if drawing:
            way = "lower is better" if metric_of(metric).lower else "higher is better"
            out.append(f"<figure><figcaption>{escape(metric)}, {way}</figcaption>{drawing}</figure>")
    legend = "".join(f"<li>{swatch(number)}{escape(system)}</li>" for number, system in enumerate(systems))
    shaded = "<li><span class='shade'></span>trained range</li>" if trained else ""
    return f'<ul class="legend">{legend}{shaded}</ul><div class="charts">{"".join(out)}</div>'


def _points(cells: Cells, system: str, metric: str) -> list[tuple[float, Interval]]:
    return [
        (scale, found)
        for (scale, name, measure), found in cells.items()
        if (name, measure) == (system, metric) and found is not None
    ]


def _table(evaluation: Evaluation) -> str:
    cells = intervals(evaluation, confidence=CONFIDENCE)
    metrics = metrics_of(evaluation.rows)
    lines = list(dict.fromkeys((scale, system) for scale, system, _ in cells))
    arrows = {metric: "&darr;" if metric_of(metric).lower else "&uarr;" for metric in metrics}
    head = "".join(f'<th scope="col">{escape(metric)} {arrows[metric]}</th>' for metric in metrics)
    body = []
    for scale, system in lines:
        row = "".join(_cell(cells, scale, system, metric) for metric in metrics)
        body.append(f'<tr><th scope="row">x{scale:g}</th><th scope="row">{escape(system)}</th>{row}</tr>')
    return (
        f"<table><caption>Means over photos, and {CONFIDENCE:.0%} bootstrap intervals.</caption>"
        f'<thead><tr><th scope="col">scale</th><th scope="col">system</th>{head}</tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table>"
    )


def _cell(cells: Cells, scale: float, system: str, metric: str) -> str:
    found = cells.get((scale, system, metric))
    if found is None:
        return f'<td class="none">{NOT_COMPUTED}</td>'
    value = shown(metric, found.mean)
    if found.mean == _best(cells, scale, metric):
        value = f"<strong>{value}</strong>"
    width = f"{shown(metric, found.low)} to {shown(metric, found.high)}" if found.n > 1 else "one photo"
    return f"<td>{value}<small>{width}</small></td>"


def _best(cells: Cells, scale: float, metric: str) -> float:
    known = [found.mean for (s, _, m), found in cells.items() if (s, m) == (scale, metric) and found is not None]
    return min(known) if metric_of(metric).lower else max(known)


def _verdict_line(verdict: Verdict | None) -> str:
    if verdict is None:
        return '<p class="badge">not judged</p>'
    return f'<p class="badge {escape(verdict.decision.lower())}">Gate: {escape(verdict.decision)}</p>'


def _verdict(verdict: Verdict | None) -> str:
    if verdict is None:
        return "<p>The gate has not judged this result.</p>"
    against = f"champion version {verdict.champion.version}" if verdict.champion else "no champion yet"
    who = f"{verdict.candidate.model} version {verdict.candidate.version}, against {against}."
    rows = "".join(
        f'<tr><th scope="row">{escape(line.rule)}</th><td>{_signed(line.effect)}</td>'
        f"<td>{'not computed' if line.low is None else f'{_signed(line.low)} to {_signed(line.high)}'}</td>"
        f"<td>{_signed(line.above)}</td><td>{line.n}</td><td>{escape(line.decision)}</td></tr>"
        for line in verdict.lines
    )
    heads = ("rule", "effect", "interval", "bound", "photos", "decision")
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    scroll = f'<div class="scroll" role="region" aria-label="Rules of the gate" tabindex="0">{table}</div>'
    said = _list([*(line.reason for line in verdict.lines), *verdict.notes])
    return f"<p>{escape(who)} Rows <code>{escape(verdict.evaluation[:12])}</code>.</p>{scroll}{said}"


def _signed(value: float | None) -> str:
    return NOT_COMPUTED if value is None else f"{value:+.3f}"


def _lineage(lineage: Mapping[str, Facts]) -> str:
    out = []
    for heading, facts in lineage.items():
        pairs = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts)
        out.append(f"<h3>{escape(heading)}</h3><dl>{pairs}</dl>")
    return "".join(out) or "<p>Nothing is known about where this came from.</p>"


def _list(sentences: Sequence[str]) -> str:
    items = "".join(f"<li>{escape(sentence)}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""
