"""The report page in a real browser: what a person with a mouse, a finger or a keyboard sees and does."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as Pillow

from lsr.evaluation.config import EvaluateConfig
from lsr.evaluation.protocol import Exhibit, Image, evaluate
from lsr.report.page import Content, page

sys.path.insert(0, str(Path(__file__).parent))
from devtools import Tab, chromium

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Address of a page: three photos of noise and slopes, three scales, ours flat so that sides differ."""
    y, x = np.mgrid[0:64, 0:64]
    rng = np.random.default_rng(0)
    photos = [
        (f"photo <{n}>", np.stack([x * 4, y * 4, (x + y) * 2], axis=2).astype(np.uint8) ^ np.uint8(7 * n))
        for n in range(2)
    ]
    photos.append(("noise", rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)))

    def flat(lr: Image, sizes: Any) -> list[Image]:
        return [np.full((h, w, 3), (250, 10, 10), np.uint8) for h, w in sizes]

    shown: list[Exhibit] = []
    config = EvaluateConfig(scales=(2.0, 2.7, 4.0), trained=(1.0, 2.7), lr_side=16, crops=1)
    found = evaluate(photos, {"ours": flat}, config, show=shown.append)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_bytes(
        page(
            Content(
                title="A run <b>",
                lead="Measured.",
                evaluation=found,
                exhibits=shown,
                lineage={"Run": [("weights digest", "0123456789abcdef" * 4)]},
            )
        )
    )
    return path.as_uri()


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with chromium(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.fixture
def desktop(tab: Tab, report: str) -> Iterator[Tab]:
    tab.open(report, width=1280, height=900)
    yield tab
    assert tab.problems == []
    assert [address for address in tab.requests if not address.startswith("data:")] == [report]


@pytest.fixture
def phone(tab: Tab, report: str) -> Iterator[Tab]:
    tab.open(report, width=375, height=812, touch=True)
    yield tab
    assert tab.problems == []


def box(tab: Tab, id_: str) -> dict[str, float]:
    found: dict[str, float] = tab.run(
        f"(() => {{ const b = document.getElementById('{id_}').getBoundingClientRect();"
        " return {x: b.x, y: b.y, width: b.width, height: b.height}; })()"
    )
    return found


def middle(tab: Tab, id_: str) -> tuple[float, float]:
    b = box(tab, id_)
    return b["x"] + b["width"] / 2, b["y"] + b["height"] / 2


def cut(tab: Tab) -> float:
    """Where the right image begins, in pixels from the left edge of the stage, as the browser computes it."""
    style = tab.run("getComputedStyle(document.getElementById('over')).clipPath")
    return float(style.removeprefix("inset(").removesuffix(")").split()[-1].removesuffix("px"))


def choose(tab: Tab, select: str, index: int) -> None:
    tab.run(f"(() => {{ const s = document.getElementById('{select}'); s.value = '{index}';"
            " s.dispatchEvent(new Event('change', {bubbles: true})); })()")  # fmt: skip


def colour(tab: Tab, folder: Path, x: float, y: float) -> tuple[int, ...]:
    """What is on the screen at (x, y)."""
    tab.screenshot(folder / "shot.png")
    with Pillow.open(folder / "shot.png") as shot:
        return tuple(shot.convert("RGB").getpixel((int(x), int(y))))  # type: ignore[arg-type]


def test_dragging_the_divider_moves_the_cut_and_what_is_seen(desktop: Tab, tmp_path: Path) -> None:
    stage = box(desktop, "stage")
    assert cut(desktop) == pytest.approx(stage["width"] / 2, abs=1)
    start = middle(desktop, "handle")
    right_of_it = (start[0] + 100, start[1])
    assert colour(desktop, tmp_path, *right_of_it) == (250, 10, 10)
    desktop.drag(start, (start[0] + 200, start[1]))
    assert cut(desktop) == pytest.approx(stage["width"] / 2 + 200, abs=2)
    assert colour(desktop, tmp_path, *right_of_it) != (250, 10, 10)
    desktop.drag(middle(desktop, "handle"), (stage["x"] - 50, start[1]))
    assert cut(desktop) == 0
    assert desktop.run("document.getElementById('handle').getAttribute('aria-valuenow')") == "0"


def test_the_keyboard_moves_it_too(desktop: Tab) -> None:
    desktop.run("document.getElementById('handle').focus()")
    before = cut(desktop)
    desktop.key("ArrowRight")
    assert cut(desktop) == pytest.approx(before + 0.02 * box(desktop, "stage")["width"], abs=1)
    desktop.key("Home")
    assert cut(desktop) == 0


def test_scale_photo_and_sides_are_chosen(desktop: Tab) -> None:
    def shown() -> tuple[Any, ...]:
        return tuple(
            desktop.run("['before', 'after'].map(i => document.getElementById(i)).map(i => [i.src, i.naturalWidth])")
        )

    desktop.run("Promise.all(['before', 'after'].map(i => document.getElementById(i).decode()))")
    first = shown()
    assert [width for _, width in first] == [43, 43]
    choose(desktop, "scale", 2)
    desktop.run("Promise.all(['before', 'after'].map(i => document.getElementById(i).decode()))")
    larger = shown()
    assert [width for _, width in larger] == [64, 64]
    choose(desktop, "photo", 2)
    assert shown()[0][0] != larger[0][0]
    assert desktop.run("document.getElementById('scale').value") == "2"
    choose(desktop, "left", 0)
    desktop.run("document.getElementById('before').decode()")
    assert shown()[0][1] == 16
    assert desktop.run("document.getElementById('tag-left').textContent") == "LR"
    assert "psnr" in desktop.run("document.getElementById('scores').textContent")
    choose(desktop, "right", 3)
    assert "truth" in desktop.run("document.getElementById('scores').textContent")


def test_zoomed_in_a_drag_pans_and_pixels_stay_square(desktop: Tab) -> None:
    desktop.run("(() => { const z = document.getElementById('zoom'); z.value = 5;"
                " z.dispatchEvent(new Event('input')); })()")  # fmt: skip
    image = box(desktop, "before")
    assert image["width"] == pytest.approx(43 * 32, abs=1)
    assert desktop.run("getComputedStyle(document.getElementById('before')).imageRendering") == "pixelated"
    stage = box(desktop, "stage")
    place = (stage["x"] + stage["width"] * 0.25, stage["y"] + stage["height"] / 2)
    before = cut(desktop)
    desktop.drag(place, (place[0] - 60, place[1] - 40))
    moved, after = box(desktop, "before"), box(desktop, "after")
    assert (moved["x"] - image["x"], moved["y"] - image["y"]) == pytest.approx((-60, -40), abs=1)
    assert after == moved
    assert cut(desktop) == before
    desktop.drag(place, (place[0] + 5000, place[1] + 5000))
    assert box(desktop, "before")["x"] == pytest.approx(stage["x"], abs=1)
    desktop.run("document.getElementById('one').click()")
    assert box(desktop, "before")["width"] == pytest.approx(43, abs=0.5)


def test_a_mark_of_a_curve_shows_its_value_on_focus(desktop: Tab) -> None:
    seen = "getComputedStyle(document.querySelector('.point .value')).visibility"
    assert desktop.run(seen) == "hidden"
    desktop.run("document.querySelector('.point').focus()")
    assert desktop.run(seen) == "visible"


SMALL_TEXT = """
[...document.querySelectorAll('body *')].filter(e => !['SCRIPT', 'STYLE', 'OPTION'].includes(e.tagName)
    && [...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim()) && e.getClientRects().length)
  .map(e => { const svg = e.closest('svg'); const drawn = svg ? svg.getBoundingClientRect().width / 320 : 1;
    return [parseFloat(getComputedStyle(e).fontSize) * drawn, e.tagName + ' ' + e.textContent.slice(0, 30)]; })
  .filter(([size]) => size < 12)
"""
TOO_WIDE = """
[...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll > *') && !e.closest('.layer, #handle')
    && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5)
  .map(e => e.tagName + '#' + e.id + '.' + e.getAttribute('class'))
"""


def test_a_phone_reads_it_without_scrolling_sideways(phone: Tab) -> None:
    phone.run("document.getElementById('gallery').open = true")
    assert phone.run("document.documentElement.scrollWidth") == 375
    assert phone.run(TOO_WIDE) == []
    assert phone.run(SMALL_TEXT) == []


def test_a_finger_moves_the_divider(phone: Tab) -> None:
    start = middle(phone, "handle")
    before = cut(phone)
    phone.swipe(start, (start[0] - 80, start[1]))
    assert cut(phone) == pytest.approx(before - 80, abs=2)


def test_without_a_script_images_and_table_are_there(tab: Tab, report: str) -> None:
    tab.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        tab.open(report, width=800, height=900)
        tab.call("Emulation.setScriptExecutionDisabled", value=False)
        assert tab.run("document.getElementById('viewer').getClientRects().length") == 0
        seen = "[...document.querySelectorAll('#gallery img')].filter(i => i.getClientRects().length).length"
        assert tab.run(seen) == 3 * (1 + 3 * 3)
        assert tab.run("document.querySelectorAll('table tbody tr').length") == 6
        assert tab.problems == []
    finally:
        tab.call("Emulation.setScriptExecutionDisabled", value=False)


def test_the_policy_rejects_a_script_that_was_put_in(tab: Tab, report: str) -> None:
    tab.open(report, width=800, height=900)
    tab.run("(() => { const s = document.createElement('script'); s.textContent = 'window.reached = true';"
            " document.body.append(s); })()")  # fmt: skip
    assert tab.run("window.reached === undefined")
    assert any("Content Security Policy" in problem for problem in tab.problems)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(tab: Tab, report: str, scheme: str) -> None:
    """WCAG 2.1: at least 4.5 for text, 3 for what a curve is drawn with."""
    tab.open(report, width=1280, height=900, scheme=scheme)
    read = "n => getComputedStyle(document.documentElement).getPropertyValue(n).trim()"
    grounds, texts = ("card", "paper"), ("ink", "soft", "good", "bad", "open")
    colours = {name: tab.run(f"({read})('--{name}')") for name in (*grounds, *texts)}
    for name in texts:
        for ground in grounds:
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    for number in range(8):
        assert contrast(tab.run(f"({read})('--s{number}')"), colours["card"]) >= 3


def contrast(a: str, b: str) -> float:
    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
