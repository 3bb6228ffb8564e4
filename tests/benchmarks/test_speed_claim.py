"""The speed claim's arithmetic, its records and what it skips; the parts of both systems at tiny sizes."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch

from benchmarks.speed_claim import collect, memory_line, page, seconds_per_image, skipped
from benchmarks.speed_systems import LatentSystem, Part, measure, published_latent_system, seconds_of
from lsr.models.baselines.build import build
from lsr.models.baselines.config import IdmConfig
from tests.models.baselines.kit import TINY
from tests.training.kit import tiny_system

CPU = torch.device("cpu")


def record(side: int, peak: float, call: float = 2.0) -> dict[str, Any]:
    parts = [
        {"name": "condition", "times": 1, "seconds": [1.0, 5.0, 3.0]},
        {"name": "network", "times": None, "seconds": [call, call * 9, call]},
        {"name": "render", "times": 2.5, "seconds": [4.0]},
    ]
    facts = {"side": side, "peak_mib": peak, "weights_mib": 400.0, "parameters": 10**6, "device": "cpu", "threads": 2}
    return {**facts, "parts": parts}


def test_an_image_costs_medians_times_how_often_it_needs_them() -> None:
    assert seconds_per_image(record(128, 500.0), steps=10) == 3 + 10 * 2 + 2.5 * 4


def test_memory_is_a_line_through_the_two_largest_sizes() -> None:
    assert memory_line([]) == (0, 0)
    assert memory_line([record(10, 600.0)]) == (400, 2)
    base, slope = memory_line([record(20, 1000.0), record(10, 700.0), record(5, 9000.0)])
    assert (base, slope) == pytest.approx((600, 1))
    assert memory_line([record(10, 700.0), record(20, 650.0)]) == (650, 0), "noise never makes memory fall"


def test_a_size_that_would_not_fit_is_rejected_with_the_side_that_would() -> None:
    before = [record(10, 700.0), record(20, 1000.0)]
    assert skipped(before, 100, limit_gib=16) is None
    found = skipped(before, 1000, limit_gib=16)
    assert found is not None
    assert found["estimated_gib"] == pytest.approx((600 + 1000**2) / 1024, abs=0.1)
    assert found["largest_side"] == int((16 * 1024 - 600) ** 0.5)
    assert skipped(before, found["largest_side"], limit_gib=16) is None
    assert skipped(before, found["largest_side"] + 1, limit_gib=16) is not None


def test_nothing_larger_than_what_failed_is_tried() -> None:
    failed = {"side": 30, "failed": "out of memory"}
    assert skipped([record(10, 700.0), failed], 40, limit_gib=16) == {
        "side": 40,
        "failed": "not tried, 30 px already fail",
    }


def test_what_is_recorded_is_not_measured_again_and_what_does_not_fit_not_at_all(tmp_path: Path) -> None:
    asked: list[tuple[str, float]] = []

    def fake(system: str, scale: float) -> dict[str, Any]:
        asked.append((system, scale))
        side = round(16 * scale)
        return record(side, 400 + (0.05 * side**2 if system == "idm" else 10))

    collect(tmp_path, fake, (8.0,), limit_gib=3, again=False)
    records = collect(tmp_path, fake, (8.0, 12.0, 30.0), limit_gib=3, again=False)
    assert len(asked) == len(set(asked)) == 8
    assert ("idm", 30.0) not in asked
    rejected = json.loads((tmp_path / "idm-x30.json").read_text())
    assert rejected["largest_side"] < 480
    text = page(records)
    assert "GiB estimated" in text
    assert "| idm 200 steps / system-a 200 | 1 | 1 |" in text
    assert "more than one machine or commit" not in text
    collect(tmp_path, fake, (8.0,), limit_gib=3, again=True)
    assert len(asked) == 11


def test_a_part_is_timed_after_a_warm_up_and_less_often_where_it_is_long(monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[int] = []
    part = Part(name="p", run=lambda: runs.append(1), times=1)
    assert len(seconds_of(part, 5, CPU)) == 5
    assert len(runs) == 6
    monkeypatch.setattr("benchmarks.speed_systems.LONG_SECONDS", -1.0)
    assert len(seconds_of(part, 5, CPU)) == 3


@pytest.mark.parametrize("system", ["idm", "latent"])
def test_both_kinds_of_system_are_measured(system: str) -> None:
    config = replace(cast(IdmConfig, TINY["idm"]), largest=8.0)
    found = measure(build(config) if system == "idm" else tiny_system(), 2.5, 2, CPU)
    assert found["side"] == 40
    assert found["peak_mib"] >= found["weights_mib"] > 0
    assert [p["name"] for p in found["parts"]][:2] == ["condition", "network"]
    assert all(len(p["seconds"]) == 2 and min(p["seconds"]) > 0 for p in found["parts"])
    if system == "latent":
        assert found["parts"][-1]["times"] == 1
        assert found["parts"][-1]["name"] == "render, a band of 40 rows"


def test_system_a_is_measured_at_its_published_size() -> None:
    with torch.device("meta"):
        unet = LatentSystem(published_latent_system()).unet
    assert sum(p.numel() for p in unet.parameters()) / 1e6 == pytest.approx(411, abs=1)
