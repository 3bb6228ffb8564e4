"""`lsr data order` dumped to files: `cmp` finds no difference between world sizes, nor after a kill."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lsr.core.settings import load_settings
from lsr.store import open_store
from tests.cli.conftest import call
from tests.data.conftest import make_set, png, sample

BATCH, BATCHES = 16, 9


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Path of a set of 26 samples in six shards."""
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    shards = [
        [sample(f"{n:02}-{i}", {"png": png(i)}) for i in range(count)] for n, count in enumerate((5, 3, 4, 7, 1, 6))
    ]
    made = make_set(open_store(load_settings().store), "tiles", shards, {}, {})
    return f"{made.directory}/{made.digest}.json"


def words(manifest: str, start: int, count: int, *more: str) -> list[str]:
    sizes = {"--batch": BATCH, "--window": 2, "--seed": 3, "--from": start, "--count": count}
    return ["data", "order", manifest, *(str(word) for pair in sizes.items() for word in pair), *more]


def same(*files: Path) -> bool:
    return all(subprocess.run(["cmp", files[0], other], check=False).returncode == 0 for other in files[1:])


@pytest.mark.parametrize("start", [0, BATCH * 4, BATCH * 4 + 5])
def test_dumps_of_all_ranks_put_together_are_one_file_for_any_world(manifest: str, tmp_path: Path, start: int) -> None:
    """Each rank dumps at least its share; positions up to the end that all have reached are put in order."""
    end, files = start + BATCH * BATCHES, []
    for world in (1, 2, 3, 16):
        lines: list[str] = []
        for rank in range(world):
            ended = call(*words(manifest, start, end - start, "--world-size", str(world), "--rank", str(rank)))
            assert ended.code == 0, ended.err
            lines += ended.out.splitlines()
        lines = sorted((line for line in lines if int(line.split()[0]) < end), key=lambda line: int(line.split()[0]))
        assert [int(line.split()[0]) for line in lines] == list(range(start, end))
        files.append(tmp_path / f"world-{world}")
        files[-1].write_text("\n".join(lines))
    assert same(*files)


def test_a_dump_that_was_killed_goes_on_as_if_it_had_not_been(manifest: str, tmp_path: Path) -> None:
    """A real process, killed at a random moment, and the next one from the last whole line on."""
    count, whole, cut = 8_000, tmp_path / "whole", tmp_path / "cut"
    whole.write_text(call(*words(manifest, 0, count)).out)
    least = random.Random().randrange(1, count // 4)
    command = [sys.executable, "-c", "from lsr.cli import main; main()", *words(manifest, 0, 1000 * count)]
    with cut.open("wb") as out:
        process = subprocess.Popen(command, stdout=out, env={**os.environ, "PYTHONUNBUFFERED": ""})
        try:
            until = time.monotonic() + 120
            while cut.read_bytes().count(b"\n") < least:
                assert process.poll() is None
                assert time.monotonic() < until
                time.sleep(0.01)
        finally:
            process.send_signal(signal.SIGKILL)
            process.wait()
    lines = cut.read_text().split("\n")[:-1][:count]
    assert least <= len(lines)
    rest = call(*words(manifest, len(lines), count - len(lines))).out if len(lines) < count else ""
    cut.write_text("\n".join(lines) + "\n" + rest)
    assert same(whole, cut), f"killed after {len(lines)} lines"
