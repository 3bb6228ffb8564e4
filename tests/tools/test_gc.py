"""Garbage: exactly what a model by brute force calls unreached is deleted, and nothing of a living run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsr.core.canonical import sha256_hex
from lsr.core.errors import ConfigError, IntegrityError
from lsr.core.settings import Settings, load_settings
from lsr.registry.versions import Version
from lsr.store import ObjectInfo, Store, open_store
from lsr.store.actions import commit
from lsr.store.attempts import claim, owner_record
from lsr.store.content import Blob, put_blob
from lsr.store.pointers import read_pointer, write_pointer
from lsr.store.records import seal
from lsr.store.roots import Record
from lsr.tools import gc
from lsr.tools.gc import DAY, collect

from .memory_store import NOW, MemoryStore

OLD, YOUNG = 30 * DAY, 60.0
GRACE = 7 * DAY
ages = st.sampled_from([OLD, OLD, OLD, YOUNG])


@st.composite
def stores(draw: Any) -> tuple[MemoryStore, list[str]]:
    """A store of every kind of object, named by each other at random, and what the registry names."""
    store = MemoryStore()
    blobs = []
    for number in range(draw(st.integers(1, 8))):
        data = f"blob {number}".encode()
        blobs.append(Blob(path=f"blobs/{sha256_hex(data)}.tar", sha256=sha256_hex(data), bytes=len(data)))
        store.put(blobs[-1].path, data, draw(ages))
    some = st.lists(st.sampled_from(blobs), max_size=3, unique=True)
    roots: list[str] = []
    for number in range(draw(st.integers(0, 6))):
        digests = [Path(path).stem for path in roots] or ["0" * 64]
        parents = draw(st.lists(st.sampled_from(digests), max_size=2))
        record = Record(
            kind=draw(st.sampled_from(["images", "decoder", "evaluation", "measurement"])),
            parents={str(place): digest for place, digest in enumerate(parents)},
            blobs={str(place): blob for place, blob in enumerate(draw(some))},
            made_by={},
            extra={"name": "n", "number": number},
        )
        roots.append(store.put(record.path, record.to_bytes(), draw(ages)))
    keys = st.sampled_from([*roots, *(blob.path for blob in blobs)])
    for number in range(draw(st.integers(0, 3))):
        shards = [{"path": blob.path, "index": blob.path} for blob in draw(some)]
        store.put(f"parts/{number:064}.json", seal({"shards": shards}), draw(ages))
    for number, path in enumerate(draw(st.lists(st.sampled_from(roots), max_size=3)) if roots else []):
        fields = {"digest": Path(path).stem, "kind": "k", "key": f"{number}", "path": path}
        store.put(f"actions/{number:064}.json", seal(fields), OLD)
    for number in range(draw(st.integers(0, 2))):
        _run(draw, store, f"{number:064}", keys)
    for number, verdict in enumerate(("a" * 64, "b" * 64, "c" * 64)):
        store.put(f"verdicts/{verdict}.json", b"{}", draw(ages))
        if draw(st.booleans()):
            store.put(f"promotions/m/{number:08}.json", seal({"verdict": verdict, "n": number}), OLD)
    store.put("parts/a-b.raw", b"from the web", OLD)
    store.put("takedowns/a.json", b"{}", OLD)
    store.put("doctor/left", b"lsr", draw(ages))
    return store, draw(st.lists(keys, max_size=2))


def _run(draw: Any, store: MemoryStore, key: str, keys: Any) -> None:
    """A dead run: a request, checkpoints, some of which its pointer names, a snapshot that the request names or not."""
    files = [f"runs/{key}/checkpoint/{number}.safetensors" for number in range(3)]
    for path in files:
        store.put(path, path.encode(), draw(ages))
    value = {"parts": draw(st.lists(st.sampled_from(files), max_size=2))}
    store.put(f"runs/{key}/checkpoint.json", seal({"fencing": 1, "nonce": "n", "value": value}), draw(ages))
    snapshot = store.put(f"snapshots/n/{key}.jsonl", b"{}", draw(ages))
    request = {"inputs": [draw(keys)], "snapshot": snapshot if draw(st.booleans()) else ""}
    store.put(f"runs/{key}/request.json", seal(request), OLD)


def alive_by_brute_force(store: MemoryStore, named: list[str]) -> set[str]:
    """Round after round, every object whose key or digest stands in the bytes of a living one lives, too."""
    mortal = ("blobs/", "datasets/", "models/", "evaluations/", "measurements/", "snapshots/", "verdicts/", "doctor/")
    mortal = (*mortal, "parts/", "runs/")

    def immortal(key: str) -> bool:
        record = key.startswith("runs/") and key.count("/") == 2
        return not key.startswith(mortal) or record or key.endswith(".raw")

    living = {key for key in store.objects if immortal(key) or store.ages[key] < GRACE or key in named}
    while True:
        told = b"".join(store.objects[key] for key in living if key.endswith(".json"))
        by_digest = {key for key in store.objects if not key.startswith(("runs/", "parts/", "snapshots/"))} - living
        fresh = {key for key in by_digest if Path(key).name.partition(".")[0].encode() in told}
        fresh |= {key for key in store.objects if key not in living and f'"{key}"'.encode() in told}
        if not fresh:
            break
        living |= fresh
    for key, data in store.objects.items():
        blobs = [path for path in store.objects if path.startswith("blobs/") and path.encode() in data]
        if key.startswith("parts/") and set(blobs) <= living:
            living.add(key)
    return living


@settings(max_examples=300, deadline=None)
@given(stores())
def test_what_is_deleted_is_what_brute_force_calls_unreached(found: tuple[MemoryStore, list[str]]) -> None:
    store, named = found
    alive = alive_by_brute_force(store, named)
    before = set(store.objects)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "open_store", lambda uri: store)
        patch.setattr(gc, "_registered", lambda settings: iter(named))
        patch.setattr(gc.time, "time", lambda: NOW)
        told = Settings(home=Path("/nowhere"), store="memory://", mlflow="sqlite:////nowhere/mlflow.db")
        counted = collect(told, grace=GRACE)
        assert set(store.objects) == before
        deleted = collect(told, grace=GRACE, delete=True)
        assert set(store.objects) == alive
        assert counted["kinds"] == deleted["kinds"]
        assert sum(kind["objects"] for kind in deleted["kinds"].values()) == len(before - alive)
        assert collect(told, grace=GRACE, delete=True)["kinds"] == {}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("lsr.registry.versions.every_version", lambda uri: [])
    return load_settings()


def age(told: Settings, days: float = 30) -> None:
    """Let every object of the store be old."""
    for path in (told.home / "store").rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - days * DAY,) * 2)


def keys(store: Store, prefix: str = "") -> set[str]:
    return {info.key for info in store.list(prefix)}


def test_a_version_keeps_what_its_tags_name(here: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when its action is no longer on record, with the parents and the verdict."""
    store = open_store(here.store)
    weights, stray = put_blob(store, b"weights", "safetensors"), put_blob(store, b"stray", "safetensors")
    parent = Record(
        kind="tiles", parents={}, blobs={"a": put_blob(store, b"tar", "tar")}, made_by={}, extra={"name": "n"}
    )
    child = Record(kind="joint", parents={"tile": parent.digest}, blobs={"ema": weights}, made_by={})
    for record in (parent, child):
        store.write(record.path, record.to_bytes())
    store.write(f"verdicts/{'a' * 64}.json", b"{}")
    refs = {"joint": {"kind": "joint", "key": "k", "digest": child.digest, "path": child.path}}
    tags = {"lsr.refs": json.dumps(refs), "lsr.verdict": "a" * 64}
    version = Version(name="m", number=1, digest="d", files="f", tags=tags)
    monkeypatch.setattr("lsr.registry.versions.every_version", lambda uri: [version])
    age(here)
    told = collect(here, delete=True)
    assert told["kinds"] == {"blobs (safetensors)": {"objects": 1, "bytes": 5}}
    assert stray.path not in keys(store)
    monkeypatch.setattr("lsr.registry.versions.every_version", lambda uri: [])
    assert set(collect(here, delete=True)["kinds"]) == {
        "blobs (safetensors)",
        "blobs (tar)",
        "root records",
        "verdicts",
    }
    assert keys(store) == set()


def test_a_blob_that_is_put_again_is_young(here: Settings) -> None:
    store = open_store(here.store)
    blob = put_blob(store, b"again", "tar")
    age(here)
    assert put_blob(store, b"again", "tar") == blob
    assert collect(here, delete=True)["kinds"] == {}
    assert keys(store) == {blob.path}


def test_checkpoints_go_by_age_and_only_of_runs_that_nobody_works_on(here: Settings) -> None:
    store = open_store(here.store)
    runs = {name: name * 64 for name in "abc"}
    for key in runs.values():
        file = f"runs/{key}/checkpoint/1.safetensors"
        store.write(file, b"moments")
        write_pointer(store, f"runs/{key}/checkpoint.json", {"checkpoints": [{"parts": {"ema": file}}]}, 1)
    age(here)
    held = claim(store, runs["a"], "denoise", owner=owner_record(), ttl=3600)
    os.utime(here.home / "store" / "runs" / runs["b"] / "checkpoint.json", None)
    assert collect(here, delete=True)["kinds"] == {}
    told = collect(here, checkpoints_older_than=10 * DAY)
    assert told["kinds"] == {"checkpoints": {"objects": 1, "bytes": 7}}
    assert read_pointer(store, f"runs/{runs['c']}/checkpoint.json") is not None
    told = collect(here, delete=True, checkpoints_older_than=10 * DAY)
    assert told["kinds"] == {"checkpoints": {"objects": 1, "bytes": 7}}
    assert f"runs/{runs['c']}/checkpoint/1.safetensors" not in keys(store)
    assert read_pointer(store, f"runs/{runs['c']}/checkpoint.json") is None
    assert len({key for key in keys(store) if key.endswith(".safetensors")}) == 2
    held.release("finished")


def test_a_run_that_starts_before_its_checkpoints_are_deleted_keeps_them(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, key = open_store(here.store), "a" * 64
    file = f"runs/{key}/checkpoint/1.safetensors"
    store.write(file, b"moments")
    write_pointer(store, f"runs/{key}/checkpoint.json", {"checkpoints": [{"parts": {"ema": file}}]}, 1)
    age(here)
    stable_map = gc._stable_map

    def and_then_a_run_starts(*args: Any) -> Any:
        found = stable_map(*args)
        claim(store, key, "denoise", owner=owner_record(), ttl=3600)
        return found

    monkeypatch.setattr(gc, "_stable_map", and_then_a_run_starts)
    assert collect(here, delete=True, checkpoints_older_than=10 * DAY)["kinds"] == {}
    assert file in keys(store)
    assert read_pointer(store, f"runs/{key}/checkpoint.json") is not None


def test_a_record_that_cannot_be_read_ends_it(here: Settings) -> None:
    store = open_store(here.store)
    blob = put_blob(store, b"bytes", "tar")
    ref = commit(store, "a" * 64, Record(kind="joint", parents={}, blobs={"ema": blob}, made_by={}))
    age(here)
    store.write(ref.path, store.read(ref.path).replace(b"joint", b"joins"))
    with pytest.raises(IntegrityError, match=ref.digest):
        collect(here, delete=True)
    assert blob.path in keys(store)


def test_a_short_grace_is_rejected(here: Settings) -> None:
    with pytest.raises(ConfigError, match="1 hours at least"):
        collect(here, grace=60.0)


def test_unfinished_writes_of_the_dead_go(here: Settings) -> None:
    store = open_store(here.store)
    store.write("blobs/x", b"1")
    folder = here.home / "store" / ".lsr-store" / "tmp"
    (folder / "1.1.another-0.tmp").write_bytes(b"12345")
    (folder / "new-0.tmp").write_bytes(b"1")
    os.utime(folder / "1.1.another-0.tmp", (time.time() - 30 * DAY,) * 2)
    assert collect(here)["kinds"] == {"unfinished writes": {"objects": 1, "bytes": 5}}
    assert collect(here, delete=True)["kinds"] == {"unfinished writes": {"objects": 1, "bytes": 5}}
    assert [path.name for path in folder.glob("*.tmp")] == ["new-0.tmp"]


WORKER = """
import sys, time
from lsr.core.refs import Ref
from lsr.store import open_store
from lsr.store.actions import commit
from lsr.store.attempts import claim, keep_alive, owner_record
from lsr.store.content import put_blob
from lsr.store.records import seal
from lsr.store.roots import Record
uri, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
store = open_store(uri)
for turn in range(rounds):
    key = f"{number:032}{turn:032}"
    store.write(f"runs/{key}/request.json", seal({"inputs": []}))
    with keep_alive(claim(store, key, "t", owner=owner_record(), ttl=60)) as lease:
        blobs = {str(n): put_blob(store, f"{turn}-{n}".encode(), "tar") for n in range(4)}
        time.sleep(0.02)
        record = Record(kind="joint", parents={}, blobs=blobs, made_by={"key": key})
        commit(store, key, record)
        lease.release("finished")
print("done", flush=True)
"""


@pytest.mark.timeout(300)
def test_it_never_takes_what_working_processes_are_about_to_name(here: Settings) -> None:
    """Workers put blobs that exist already, as garbage of old age, while this process collects all the time."""
    store, rounds = open_store(here.store), 25
    for turn in range(rounds):
        for number in range(4):
            put_blob(store, f"{turn}-{number}".encode(), "tar")
    age(here)
    command = [sys.executable, "-c", WORKER, here.store]
    workers = [subprocess.Popen([*command, str(number), str(rounds)], stdout=subprocess.PIPE) for number in range(3)]
    collected = 0
    while any(worker.poll() is None for worker in workers):
        told = collect(here, delete=True)
        collected += sum(kind["objects"] for kind in told["kinds"].values())
    assert [worker.wait() for worker in workers] == [0, 0, 0]
    for info in store.list("models/"):
        for blob in Record.from_bytes(store.read(info.key), info.key).blobs.values():
            assert store.head(blob.path) is not None, blob.path
    assert len(keys(store, "actions/")) == 3 * rounds
    assert collected > 0


def test_a_touch_between_the_map_and_the_deletion_saves_an_object(
    here: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(here.store)
    blob = put_blob(store, b"bytes", "tar")
    age(here)
    stable_map = gc._stable_map

    def and_then_it_is_named(*args: Any) -> Any:
        found = stable_map(*args)
        put_blob(store, b"bytes", "tar")
        return replace(found, unreached={**found.unreached, "blobs/gone": ObjectInfo("blobs/gone", 1, "e", 0.0)})

    monkeypatch.setattr(gc, "_stable_map", and_then_it_is_named)
    assert collect(here, delete=True)["kinds"] == {}
    assert blob.path in keys(store)
