"""The report page: whole without a network, its own policy, data that stays data, a stated size."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import zipfile
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image as Pillow

from lsr.core.errors import IntegrityError, VersionMismatchError
from lsr.evaluation.bootstrap import Interval
from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.protocol import Exhibit, Image, evaluate, resize
from lsr.evaluation.rows import Evaluation, Row
from lsr.evaluation.verdict import Candidate, Line, Verdict
from lsr.report.chart import chart, ticks
from lsr.report.exhibits import pack_exhibits, unpack_exhibits
from lsr.report.page import Content, embedded_json, page
from lsr.report.tables import intervals, means

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&\ud800${title}"


class Page(HTMLParser):
    """What a parser makes of a page: elements with their attributes, and text by element."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(data.decode("utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.text.setdefault(self._open[-1], []).append(data)

    def all(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


@pytest.fixture(scope="module")
def measured() -> tuple[Evaluation, list[Exhibit]]:
    """Two systems on two photos, one of which cannot be asked at the largest scale."""
    rng = np.random.default_rng(0)
    big, small = (rng.integers(0, 256, (side, side, 3), dtype=np.uint8) for side in (70, 40))

    def nearest(lr: Image, sizes: object) -> list[Image]:
        return [np.asarray(Pillow.fromarray(lr).resize((w, h), 0)) for h, w in sizes]  # type: ignore[attr-defined]

    shown: list[Exhibit] = []
    config = EvaluateConfig(scales=(2.0, 2.5, 4.0), trained=(1.0, 2.5), lr_side=16, crops=1)
    found = evaluate([("one", big), ("two", small)], {"ours": nearest}, config, show=shown.append)
    return found, shown


def test_means_have_the_bootstrap_of_their_photos(measured: tuple[Evaluation, list[Exhibit]]) -> None:
    cells = intervals(measured[0], resamples=4000, seed=3)
    values = [row.values["psnr"] for row in measured[0].rows if (row.scale, row.system) == (2.0, "ours")]
    found = cells[(2.0, "ours", "psnr")]
    assert found is not None
    # Of two photos every resample is (a, a), (a, b) or (b, b): the interval spans both.
    assert (found.low, found.high) == pytest.approx((min(values), max(values)))  # type: ignore[type-var]
    assert cells[(2.0, "ours", "lpips")] is None
    for mean in means(measured[0]):
        cell = cells[(mean.scale, mean.system, mean.metric)]
        assert mean.value == (None if cell is None else cell.mean)


def test_images_come_back_from_their_file(measured: tuple[Evaluation, list[Exhibit]]) -> None:
    exhibits = [
        replace(e, photo=e.photo + HOSTILE.replace("\ud800", ""), outputs={"../x": e.truth}) for e in measured[1]
    ]
    data = pack_exhibits(exhibits)
    assert data == pack_exhibits(exhibits)
    for mine, read in zip(exhibits, unpack_exhibits(data, "here"), strict=True):
        assert (mine.photo, mine.crop, mine.scale, list(mine.outputs)) == (
            read.photo,
            read.crop,
            read.scale,
            list(read.outputs),
        )
        for a, b in ((mine.lr, read.lr), (mine.truth, read.truth), (mine.outputs["../x"], read.outputs["../x"])):
            np.testing.assert_array_equal(a, b)
    with pytest.raises(IntegrityError, match="at here cannot be read"):
        unpack_exhibits(data[: len(data) // 2], "here")
    newer = io.BytesIO()
    with zipfile.ZipFile(newer, "w") as archive:
        archive.writestr("index.json", '{"format": 2}')
    with pytest.raises(VersionMismatchError, match="not of format 1; evaluate again"):
        unpack_exhibits(newer.getvalue(), "here")


def test_the_page_needs_nothing_but_itself(measured: tuple[Evaluation, list[Exhibit]]) -> None:
    data = page(Content(title="Demo", lead="A lead.", evaluation=measured[0], exhibits=measured[1]))
    assert data == page(Content(title="Demo", lead="A lead.", evaluation=measured[0], exhibits=measured[1]))
    found = Page(data)
    addresses = [a[name] for _, a in found.found for name in ("src", "href", "action", "data", "srcset") if name in a]
    assert addresses
    # The two empty images of the slider have no address before the script runs.
    assert all(address.startswith("data:image/") for address in addresses)
    assert not {tag for tag, _ in found.found} & {"link", "iframe", "object", "embed", "form", "base"}
    assert not [a for _, a in found.found if any(name.startswith("on") or name == "style" for name in a)]
    assert b"http://" not in data
    assert b"https://" not in data


def test_the_policy_names_the_script_and_the_style_sheet_that_are_there(
    measured: tuple[Evaluation, list[Exhibit]],
) -> None:
    found = Page(page(Content(title="T", lead="", evaluation=measured[0], exhibits=measured[1])))
    (policy,) = [a["content"] for a in found.all("meta") if a.get("http-equiv") == "Content-Security-Policy"]
    rules = dict(rule.strip().partition(" ")[::2] for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    texts = {"script-src": found.text["script"][-1], "style-src": "".join(found.text["style"])}
    for rule, text in texts.items():
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert rules[rule] == f"'sha256-{digest}'"


def test_a_hostile_name_stays_a_name(measured: tuple[Evaluation, list[Exhibit]]) -> None:
    evaluation, exhibits = measured
    rows = tuple(replace(row, photo=HOSTILE, system=HOSTILE) for row in evaluation.rows if row.system == "ours")
    poisoned = replace(evaluation, rows=rows, protocol=HOSTILE, notes=(HOSTILE,))
    line = Line(rule=HOSTILE, decision="FAIL", effect=None, low=None, high=None, above=0.0, n=1, reason=HOSTILE)
    who = Candidate(model=HOSTILE, version=1, digest="d" * 64)
    verdict = Verdict(
        decision="FAIL",
        candidate=who,
        champion=None,
        evaluation="e" * 64,
        champion_evaluation=None,
        gate={},
        lines=(line,),
        notes=(HOSTILE,),
    )
    shown = [replace(e, photo=HOSTILE, outputs={HOSTILE: e.truth}) for e in exhibits]
    content = Content(
        title=HOSTILE,
        lead=HOSTILE,
        evaluation=poisoned,
        exhibits=shown,
        verdict=verdict,
        lineage={HOSTILE: [(HOSTILE, HOSTILE)]},
        notes=[HOSTILE],
    )
    clean = Page(page(Content(title="t", lead="l", evaluation=evaluation, exhibits=exhibits)))
    found = Page(page(content))
    assert len(found.all("script")) == len(clean.all("script")) == 2
    assert not [a for _, a in found.found if "onerror" in a]
    assert all(a.get("src", "data:").startswith("data:") for a in found.all("img"))
    assert "".join(found.text["h1"]) == HOSTILE.replace("\ud800", "?")
    index = json.loads(found.text["script"][0])
    assert index["photos"][0]["scales"][0]["panels"][1]["name"] == HOSTILE


def test_embedded_json_cannot_end_its_element() -> None:
    value = {"a": "</script><!-- \u2028 &amp;"}
    text = embedded_json(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value
    with pytest.raises(ValueError):
        embedded_json(float("nan"))


def test_every_image_is_there_once_and_exact(measured: tuple[Evaluation, list[Exhibit]]) -> None:
    evaluation, exhibits = measured
    found = Page(page(Content(title="T", lead="", evaluation=evaluation, exhibits=exhibits)))
    images = {a["id"]: a for a in found.all("img") if "src" in a}
    index = json.loads(found.text["script"][0])
    assert [len(photo["scales"]) for photo in index["photos"]] == [3, 2]
    # LR once a photo, then bicubic, ours and truth at every scale.
    assert len(images) == 2 + 3 * 5
    assert all(a["alt"] for a in images.values())
    entry = index["photos"][0]["scales"][2]
    by_name = {image["name"]: images[image["id"]] for image in entry["panels"]}
    exhibit = exhibits[2]
    assert entry["scale"] == exhibit.scale == 4.0
    bicubic = resize(exhibit.lr, (64, 64))
    for name, pixels in {"LR": exhibit.lr, "bicubic": bicubic, "truth": exhibit.truth}.items():
        data = base64.b64decode(by_name[name]["src"].partition(",")[2])
        np.testing.assert_array_equal(np.asarray(Pillow.open(io.BytesIO(data)).convert("RGB")), pixels)
    row = next(r for r in evaluation.rows if (r.photo, r.scale, r.system) == ("one", 4.0, "ours"))
    scores = {image["name"]: image["score"] for image in entry["panels"]}
    assert f"psnr {row.values['psnr']:.2f}" in scores["ours"]


def test_images_keep_to_the_budget_and_the_page_says_what_is_dropped(
    measured: tuple[Evaluation, list[Exhibit]],
) -> None:
    content = Content(title="T", lead="", evaluation=measured[0], exhibits=measured[1])
    whole = page(content)
    assert b"Images are lossless." in whole
    taken = sum(len(a["src"]) for a in Page(whole).all("img") if "src" in a)
    smaller = page(content, budget=taken // 3)
    assert sum(len(a["src"]) for a in Page(smaller).all("img") if "src" in a) <= taken // 3
    assert b"WebP of quality 90" in smaller
    assert re.search(rb"\d of 5 image sets did not fit", smaller)
    none = page(content, budget=0)
    assert b"This evaluation keeps no images." in none


def test_the_table_holds_means_with_intervals_and_what_was_not_computed() -> None:
    rows = tuple(
        Row(photo=photo, crop=0, scale=2.0, system=system, values={"psnr": value, "lpips": None})
        for system, values in {"bicubic": (20.0, 22.0), "ours": (23.0, 23.0)}.items()
        for photo, value in zip("ab", values)
    )
    text = page(Content(title="T", lead="", evaluation=Evaluation(protocol="p", facts={}, rows=rows))).decode()
    assert "<td>21.00<small>20.00 to 22.00</small></td>" in text
    assert "<td><strong>23.00</strong><small>23.00 to 23.00</small></td>" in text
    assert '<td class="none">not computed</td>' in text
    assert "The gate has not judged this result." in text


def test_a_curve_puts_values_where_they_belong() -> None:
    def at(mean: float) -> Interval:
        return Interval(mean=mean, low=mean - 1, high=mean + 1, n=3)

    drawn = chart("psnr", {"a<b": [(1.0, at(20.0)), (2.0, at(25.0)), (4.0, at(30.0))]}, trained=(1.0, 2.0))
    line = re.search(r'<polyline[^>]*points="([^"]+)"', drawn)
    assert line is not None
    places = [tuple(map(float, pair.split(","))) for pair in line[1].split()]
    # Equal ratios of scale and equal steps of value are equal distances.
    assert places[1][0] - places[0][0] == pytest.approx(places[2][0] - places[1][0], abs=0.11)
    assert places[0][1] - places[1][1] == pytest.approx(places[1][1] - places[2][1], abs=0.11)
    assert places[0][1] > places[2][1]
    assert 'aria-label="a&lt;b x2: 25.00 (24.00 to 26.00)"' in drawn
    assert drawn.count('tabindex="0"') == 3
    assert chart("psnr", {"a": []}) == ""
    assert "nan" not in chart("psnr", {"a": [(3.0, Interval(mean=5.0, low=5.0, high=5.0, n=1))]})


@pytest.mark.parametrize(("low", "high"), [(0.0, 1.0), (19.3, 31.8), (-0.004, 0.0007), (0.981, 0.9999)])
def test_ticks_are_round_and_cover(low: float, high: float) -> None:
    found = ticks(low, high)
    assert found[0] <= low + 1e-9
    assert found[-1] >= high - 1e-9
    assert 3 <= len(found) <= 8
    step = found[1] - found[0]
    assert min(abs(step / 10 ** round(np.log10(step / f)) - f) for f in (1, 2, 5)) < 1e-6


def test_generation_shows_its_sheet_of_samples_and_no_slider() -> None:
    buffer = io.BytesIO()
    Pillow.new("RGB", (30, 20)).save(buffer, "PNG")
    rows = (Row(photo="sample", crop=0, scale=1.0, system="ours", values={"self_ssim": 0.9}),)
    evaluation = Evaluation(protocol="samples", facts={}, rows=rows)
    found = Page(page(Content(title="T", lead="", evaluation=evaluation, figures={"Samples <": buffer.getvalue()})))
    (sheet,) = [a for a in found.all("img") if "src" in a]
    assert (sheet["width"], sheet["height"], sheet["alt"]) == ("30", "20", "Samples <")
    assert base64.b64decode(sheet["src"].partition(",")[2]) == buffer.getvalue()
    assert json.loads(found.text["script"][0]) == {"photos": []}
