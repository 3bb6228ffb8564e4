"""Remembered shards and packing: of two makers the first wins, what was lost is made again, and order is kept."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.parts import once
from data_prep.tars import Sample, pack, store_shard, tar_size, write_tar
from lsr.core.errors import NotFoundError
from lsr.store import Store, open_store


class Maker:
    """Counts how often it had to work; each result differs, as latents from another GPU may."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        return {"result": self.calls}


def ask(store: Store, make: Any, version: int = 1, digest: str = "a") -> dict[str, Any]:
    return once(store, "stage", version, {"input": digest}, {"size": 3}, make)


def test_equal_requests_are_made_once_and_others_are_not_mixed_up(store_uri) -> None:
    store, make = open_store(store_uri), Maker()
    assert [ask(store, make), ask(store, make)] == [{"result": 1}, {"result": 1}]
    assert ask(store, make, version=2) == {"result": 2}
    assert ask(store, make, digest="b") == {"result": 3}
    assert ask(open_store(store_uri), make) == {"result": 1}


def test_the_slower_of_two_makers_takes_the_first_ones_result(store_uri) -> None:
    store = open_store(store_uri)

    def slow() -> dict[str, Any]:
        assert ask(store, lambda: {"result": "first"}) == {"result": "first"}
        return {"result": "second"}

    assert ask(store, slow) == {"result": "first"}


@pytest.mark.parametrize("damage", [b"", b"not json", b"[1]"])
def test_a_damaged_record_is_made_again_and_replaced(store_uri, damage) -> None:
    store, make = open_store(store_uri), Maker()
    ask(store, make)
    (record,) = store.list("parts/")
    store.write(record.key, damage)
    assert [ask(store, make), ask(store, make)] == [{"result": 2}, {"result": 2}]


@pytest.mark.parametrize("damage", ["tar lost", "index lost", "tar cut short"])
def test_a_record_whose_blobs_are_gone_is_made_again(store_uri, damage) -> None:
    store = open_store(store_uri)
    made = 0

    def make() -> dict[str, Any]:
        nonlocal made
        made += 1
        row = store_shard(store, *write_tar([Sample("k", "s", "train", 1, 1, {"png": bytes(made)})]))
        return {"shards": [asdict(row)]}

    (row,) = ask(store, make)["shards"]
    if damage == "tar cut short":
        store.write(row["path"], b"short")
    else:
        store.delete(row["path" if damage == "tar lost" else "index"])
    (again,) = ask(store, make)["shards"]
    assert made == 2
    assert ask(store, make)["shards"] == [again]
    assert store.head(again["path"]) is not None


def test_a_failed_maker_leaves_no_record(store_uri) -> None:
    store = open_store(store_uri)

    def fail() -> dict[str, Any]:
        raise NotFoundError("the image is gone")

    with pytest.raises(NotFoundError):
        ask(store, fail)
    assert list(store.list("parts/")) == []


@given(st.lists(st.integers(0, 50)), st.integers(1, 60))
def test_packing_keeps_order_loses_nothing_and_fills_greedily(sizes, limit) -> None:
    runs = list(pack(range(len(sizes)), sizes, limit))
    assert [item for run in runs for item in run] == list(range(len(sizes)))
    for run, following in zip(runs, [*runs[1:], None]):
        total = sum(sizes[item] for item in run)
        assert len(run) == 1 or total <= limit
        assert following is None or total + sizes[following[0]] > limit


@given(st.lists(st.binary(max_size=1500), min_size=1, max_size=4))
def test_the_size_of_a_tar_is_known_before_it_is_written(payloads) -> None:
    data, _ = write_tar([Sample(f"k{n}", "", "", 1, 1, {"bin": payload}) for n, payload in enumerate(payloads)])
    assert 1024 <= len(data) - tar_size(map(len, payloads)) < 1024 + 10240


def test_tars_do_not_depend_on_the_order_of_members() -> None:
    members = {"png": b"p", "json": b"j", "hr.npy": b"h"}
    samples = [Sample("k", "", "", 1, 1, dict(items)) for items in (members.items(), reversed(members.items()))]
    assert write_tar(samples[:1])[0] == write_tar(samples[1:])[0]
