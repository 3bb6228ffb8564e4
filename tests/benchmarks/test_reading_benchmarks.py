"""The benchmarks of reading at tiny sizes: every side reads every sample, and figures follow from the passes."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from itertools import product
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import sharding
from benchmarks.data import blind, download, resume, shard_memory, versus
from benchmarks.data.figures import rows_of, verdicts_of
from benchmarks.data.server import s3_server
from benchmarks.data.sets import Sizes, draw
from benchmarks.data.sides import MEMBERS, SIDES, Pass
from benchmarks.data.worker import timed, together
from infra.local.supervisor import answers

TINY = Sizes(side=32, png=32, jpg=32, latents=32, shards=2)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("sets")
    draw(place, TINY)
    return place


def job(folder: Path, kind: str, rank: int = 0, world: int = 1) -> Pass:
    return Pass(kind=kind, folder=str(folder), remote=None, cache=str(folder / "cache"), rank=rank, world=world)


def seen(side: str, job: Pass) -> list[torch.Tensor]:
    """Everything the side gave, sample by sample, its tensors flattened into one row."""
    batches = [torch.cat([part.flatten(1).float() for part in batch], 1) for batch in SIDES[side](job)]
    return sorted(torch.cat(batches), key=lambda row: row.tolist())


@pytest.mark.parametrize(
    ("side", "kind"), [*product(("lsr", "files", "webdataset"), MEMBERS), ("memory_once", "latents")]
)
def test_every_side_gives_the_samples_that_memory_gives(folder: Path, side: str, kind: str) -> None:
    expected, got = seen("memory", job(folder, kind)), seen(side, job(folder, kind))
    assert len(got) == TINY.of(kind)
    assert torch.equal(torch.stack(got), torch.stack(expected))


@pytest.mark.parametrize("side", ["lsr", "files", "webdataset"])
def test_two_ranks_read_every_sample_once(folder: Path, side: str, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = []
    for rank in range(2):
        for name, value in (("RANK", rank), ("WORLD_SIZE", 2)):
            monkeypatch.setenv(name, str(value))
        parts += seen(side, job(folder, "png", rank, 2))
    parts.sort(key=lambda row: row.tolist())
    assert torch.equal(torch.stack(parts), torch.stack(seen("memory", job(folder, "png"))))


def test_skipped_batches_are_read_and_not_counted(folder: Path) -> None:
    found = timed("memory", job(folder, "png"), skip=1)
    assert (found["read"], found["counted"]) == (32, 16)
    assert found["seconds"] > 0


def test_ranks_together_take_as_long_as_the_longest_and_as_much_cpu_as_all() -> None:
    one = {"seconds": 2.0, "cpu_seconds": 1.0, "counted": 10, "read": 12, "first_seconds": 0.1}
    two = {"seconds": 4.0, "cpu_seconds": 2.0, "counted": 10, "read": 13, "first_seconds": 0.3}
    assert together([one, two]) == {"seconds": 0.2, "cpu_seconds": 0.15, "first_seconds": 0.3, "read": 25}
    assert together([one, {"error": "no"}]) == {"error": "no"}


def answer(seconds: float) -> dict[str, Any]:
    return {"seconds": seconds, "cpu_seconds": 2 * seconds, "first_seconds": 0.5, "read": 8}


def test_rates_are_taken_turn_by_turn_and_the_floor_is_no_rival() -> None:
    times = {"memory": [1.0, 10.0], "lsr": [2.0, 20.0], "whole": [0.5, 5.0], "files": [4.0, 40.0], "litdata": [1.6, 16]}
    taken: Any = {("s3", "png", 1, side): [answer(t) for t in found] for side, found in times.items()}
    taken["s3", "png", 1, "webdataset"] = [{"error": "no curl"}]
    rows = {row["side"]: row for row in rows_of(taken)}
    assert rows["lsr"]["cpu_rate_over_memory"]["median"] == 0.5
    assert rows["files"]["wall_rate_over_memory"]["median"] == 0.25
    assert rows["webdataset"]["error"] == "no curl"
    (verdict,) = verdicts_of(taken)
    assert verdict["cpu"]["over_memory"]["verdict"] == "missed"
    assert verdict["wall"]["over_best_other"] | {"low": 0, "high": 0} == {
        "side": "litdata", "median": 0.8, "low": 0, "high": 0, "coverage": 0.5, "verdict": "missed",
    }  # fmt: skip


def test_the_record_has_every_case_and_names_what_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(versus, "SKIPPED", 0)
    monkeypatch.setattr(versus, "WORKERS", (2,))
    sides = {"local": ("memory", "lsr"), "s3": ("memory", "lsr", "whole", "webdataset", "streaming")}
    monkeypatch.setattr(versus, "SIDES", sides)
    monkeypatch.setattr(versus, "LIBRARIES", ("webdataset", "streaming"))
    record = versus.measure(tmp_path, {"streaming": "/bin/false"}, 1, TINY, moto=True)
    assert record["versions"]["streaming"].startswith("does not run: ")
    assert record["s3_server"] == "moto"
    cases = {(row["place"], row["kind"], row["side"]) for row in record["rows"]}
    assert len(cases) == len(record["rows"]) == 3 * (2 + 4)
    assert all(row["images_read"] == [32] and row["cpu_ms_an_image"] > 0 for row in record["rows"])
    assert len(record["targets"]) == 6


def test_resuming_is_measured_beside_its_gets(tmp_path: Path) -> None:
    setup = resume.Setup(side=16, different=4, shards=3, shard_bytes=8_000, batch=4, positions=1)
    record = resume.measure(tmp_path, setup, moto=True)
    for place in ("local", "s3"):
        (row,) = record["rows"][place]
        assert row["samples"] == 4
        assert row["bytes"] > 4 * 67
        over = record["places"][place]["over_gets_seconds"]["largest"]
        assert over == pytest.approx(row["first_batch_seconds"] - row["gets_seconds"], abs=1e-3)


def test_one_slow_position_misses_the_target() -> None:
    rows = [{"first_batch_seconds": first, "gets_seconds": 0.5} for first in (0.6, 1.4, 1.6)]
    assert resume.judged(rows[:2])["verdict"] == "met"
    assert resume.judged(rows)["verdict"] == "missed"
    assert resume.judged(rows)["over_gets_seconds"] == {"median": 0.9, "largest": 1.1}


def test_memory_of_sharding_is_that_of_real_shards(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    shard_memory.draw(tmp_path / "raw", 5)
    found = shard_memory.shard(tmp_path / "raw", f"file://{tmp_path}/store")
    assert (found["images"], found["shards"]) == (5, 1)
    assert found["peak_mib"] >= found["before_mib"] > 0


def test_downloads_take_turns_and_bring_the_same_bytes(tmp_path: Path) -> None:
    with s3_server(moto=True) as server:
        row = download.compare(server.remote, 300_000, 2, tmp_path)
    assert set(row["cpu_ms_per_mib"]) == set(row["wall_ms_per_mib"]) == {"ours", "boto3", "body"}
    with pytest.raises(RuntimeError, match="Expected bytes of digest 00, received ff"):
        download.timed(lambda: "ff", 1.0, "00")


def test_a_benchmark_that_is_told_to_end_takes_its_server_along() -> None:
    code = (
        "import sys\nfrom benchmarks.data.server import s3_server\n"
        "with s3_server(moto=True) as server:\n"
        "    print(server.env['AWS_ENDPOINT_URL'], flush=True)\n    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        assert run.stdout is not None
        url = run.stdout.readline().strip()
        assert answers(url)
        run.send_signal(signal.SIGTERM)
        assert run.wait(30) == 128 + signal.SIGTERM
    assert not answers(url)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos as one benchmark has hundreds."""
    place = tmp_path_factory.mktemp("few")
    rng = np.random.default_rng(0)
    for number in range(2):
        path = place / "images" / str(number) / "a.jpg"
        path.parent.mkdir(parents=True)
        Image.fromarray(rng.integers(0, 256, (64, 96, 3), dtype=np.uint8)).save(path, quality=90)
    return place


def test_both_references_of_sharding_bring_every_file(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    remove = shutil.rmtree

    def watched(target: Path, ignore_errors: bool = False) -> None:
        seen.extend(bytes_in(target))
        remove(target, ignore_errors)

    monkeypatch.setattr("benchmarks.shard_tile.shutil.rmtree", watched)
    with ThreadPool(1) as pool:
        bench = sharding.Sharding(few, sharding.recipe_for(few / "images"), pool)
        assert bench.reference() > 0
        assert bench.floor() > 0
    assert sorted(seen) == sorted(2 * bytes_in(few / "images"))


def bytes_in(folder: Path) -> list[bytes]:
    return [path.read_bytes() for path in folder.rglob("*.jpg")]


def test_the_fixed_condition_is_the_same_from_the_cache_and_in_the_loop_and_a_blind_one_is_not() -> None:
    steps = {name: step() for name, step in blind.Steps(3).by_name().items()}
    assert steps["fixed"] == pytest.approx(steps["cached"], rel=1e-5)
    assert steps["blind"] != pytest.approx(steps["cached"], rel=1e-5)
    row = blind.compare(batch=2, turns=1)
    assert set(row["over_cached"]) == {"fixed", "blind"}
    assert min(row["cpu_ms_per_sample"].values()) > 0
