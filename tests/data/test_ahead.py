"""Digests of local shards are checked in the background, and no sample of a shard is given before its own is."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from lsr.core.errors import IntegrityError, NotFoundError
from lsr.data.ahead import CHECKS, Checker
from lsr.data.manifest import ShardRow
from lsr.data.shards import SampleReader

from .conftest import Sets, png

SECONDS = 20


def rows(count: int) -> list[ShardRow]:
    return [ShardRow(path=f"{n}", index="", sha256=f"{n:064}", bytes=1, samples=1) for n in range(count)]


class Slow:
    """A check that waits for `go`; counts what it began."""

    def __init__(self) -> None:
        self.go, self.began, self.wrong = threading.Event(), [], set()

    def __call__(self, row: ShardRow) -> None:
        self.began.append(row.path)
        assert self.go.wait(SECONDS)
        if row.path in self.wrong:
            raise IntegrityError(f"{row.path} is corrupt")


def test_checks_go_on_side_by_side_and_each_shard_has_one() -> None:
    check, all_rows = Slow(), rows(CHECKS)
    checker = Checker(check, set())
    checker.want(all_rows)
    checker.want(all_rows)
    check.go.set()
    for row in [*all_rows, *all_rows]:
        checker.require(row)
    checker.close()
    assert sorted(check.began) == [row.path for row in all_rows]


def test_what_is_no_longer_wanted_is_not_begun() -> None:
    check, all_rows = Slow(), rows(CHECKS + 2)
    checker = Checker(check, set())
    checker.want(all_rows)
    checker.want(all_rows[:1])
    check.go.set()
    checker.close()
    assert all_rows[-1].path not in check.began


def test_who_reads_waits_for_the_check_and_meets_its_error_and_a_mended_shard_is_right() -> None:
    check, (row, *_) = Slow(), rows(1)
    check.wrong.add(row.path)
    checker = Checker(check, set())
    checker.want([row])
    met: list[BaseException] = []

    def read() -> None:
        try:
            checker.require(row)
        except IntegrityError as error:
            met.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    reader.join(0.05)
    assert reader.is_alive(), "it waits"
    check.go.set()
    reader.join(SECONDS)
    assert "is corrupt" in str(met[0])
    check.wrong.clear()
    checker.require(row)
    checker.close()


def test_a_corrupt_local_shard_that_was_expected_is_named_and_gives_nothing(sets: Sets) -> None:
    place = Path(sets.store.uri.removeprefix("file://"))
    shard = place / sets.tiles.shards[0].path
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    reader = SampleReader(sets.store, sets.tiles)
    reader.expect([0, 1])
    for _ in range(2):
        with pytest.raises(IntegrityError, match="is corrupt"):
            reader.read(0)
    shard.write_bytes(whole)
    assert reader.read(0)["png"] == png(0)
    reader.close()
    shard.unlink()
    again = SampleReader(sets.store, sets.tiles)
    again.expect([0])
    with pytest.raises(NotFoundError):
        again.read(0)
    again.close()
