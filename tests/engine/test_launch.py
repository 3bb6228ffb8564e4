"""The launcher: made once, reused by the store's record, waited for while another process makes it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from data_prep.tars import Sample, store_shard, write_tar
from lsr.cluster import jobs
from lsr.core.errors import IntegrityError
from lsr.core.progress import Quiet, RichProgress
from lsr.core.refs import Ref
from lsr.core.resources import Resources
from lsr.core.settings import Settings
from lsr.data.manifest import Manifest, load_manifest
from lsr.engine import launch as launching
from lsr.engine.context import Context
from lsr.engine.launch import launch, make_here
from lsr.engine.request import Request
from lsr.engine.reuse import lost_objects, reusable
from lsr.engine.table import PIPELINE, request_of
from lsr.recipes import load_recipe
from lsr.recipes.run import Run, load_run
from lsr.store import Store, open_store
from lsr.store.actions import commit
from lsr.store.content import put_blob
from lsr.store.roots import Record

MADE: list[str] = []
CONTENT = [b"first"]
BROKEN: list[bool] = []


def make(request: Any, config: Any, ctx: Context, lease: Any) -> Ref:
    """A stage that takes a moment and counts itself."""
    MADE.append(request.key)
    time.sleep(0.3)
    lease.check()
    return record(ctx.store, request.key, CONTENT[0])


def record(store: Store, key: str, content: bytes) -> Ref:
    """Commit a data set of one shard with one sample."""
    shard = store_shard(store, *write_tar([Sample("k", "k.png", "train", 8, 8, {"png": content})]))
    manifest = Manifest(
        kind="images", name="t", parents={}, made_by={"stage": "t"}, shards=(shard,), counts={"samples": 1}
    )
    return commit(store, key, manifest.record())


def broken(request: Any, config: Any, ctx: Context, lease: Any) -> Ref:
    """A stage that fails before it has a result."""
    raise RuntimeError("half-way")


class Counted:
    """Stands for stage *shard*."""

    resources = staticmethod(lambda run: run.shard.driver)

    def make(self, request: Any, ctx: Context, lease: Any) -> Ref:
        return (broken if BROKEN else make)(request, None, ctx, lease)


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    MADE.clear()
    BROKEN.clear()
    CONTENT[:] = [b"first"]
    monkeypatch.setattr(launching, "stage_named", lambda name: Counted())
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.05)
    return context(tmp_path)


def context(folder: Path, *, run: str = "laptop", **words: Any) -> Context:
    uri = f"file://{folder / 'store'}"
    settings = Settings(home=folder, store=uri, mlflow=f"sqlite:///{folder}/mlflow.db", **words)
    return Context(settings=settings, store=open_store(uri), run=load_run(run))


def request(stage: str = "shard", run: Run | None = None) -> Request:
    inputs = {name: Ref(kind="x", key="a", digest="a" * 64, path="x/a.json") for name in PIPELINE[stage].inputs}
    return request_of(PIPELINE[stage], load_recipe("demo"), run or load_run("laptop"), inputs)


def test_a_recorded_result_is_reused(ctx: Context) -> None:
    first, second = launch(request(), ctx), launch(request(), ctx)
    assert (first.made, second.made) == (True, False)
    assert first.ref == second.ref
    assert len(MADE) == 1


def test_two_at_once_make_it_once(ctx: Context, tmp_path: Path) -> None:
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(launch(request(), context(tmp_path)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(MADE) == 1
    assert len({outcome.ref for outcome in outcomes}) == 1


def test_a_failed_attempt_leaves_no_result_and_the_next_one_continues(ctx: Context) -> None:
    BROKEN.append(True)
    with pytest.raises(RuntimeError, match="half-way"):
        launch(request(), ctx)
    BROKEN.clear()
    assert launch(request(), ctx).made
    assert [i.key.rsplit("/", 1)[-1] for i in ctx.store.list(f"runs/{request().key}/attempt")] == [
        "attempt-1.json",
        "attempt-2.json",
    ]


class Listening:
    """A store that writes down which methods were called for which keys."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.inner, name)
        if not callable(member):
            return member

        def call(key: str, *args: Any) -> Any:
            self.calls.append((name, key))
            return member(key, *args)

        return call


def test_reuse_writes_nothing_and_reads_no_blob(ctx: Context) -> None:
    launch(request(), ctx)
    listening = Listening(ctx.store)
    ctx.store = listening  # type: ignore[assignment]
    assert not launch(request(), ctx).made
    assert {method for method, _ in listening.calls} == {"read", "head"}
    assert not [key for method, key in listening.calls if method == "read" and key.startswith("blobs/")]
    assert len([key for method, key in listening.calls if method == "head"]) == 2


@pytest.mark.parametrize("damage", ["tar lost", "index lost", "tar cut short", "manifest lost"])
@pytest.mark.parametrize("again", [b"first", b"other"])
def test_a_result_whose_objects_are_lost_is_made_again(
    ctx: Context, caplog: pytest.LogCaptureFixture, damage: str, again: bytes
) -> None:
    """Also where it comes out otherwise than the first time: then the new one is what the store records."""
    first = launch(request(), ctx).ref
    row = load_manifest(ctx.store, first.path).shards[0]
    harmed = {"index lost": row.index, "manifest lost": first.path}.get(damage, row.path)
    ctx.store.delete(harmed)
    if damage == "tar cut short":
        ctx.store.write(harmed, b"short")
    CONTENT[0] = again
    second = launch(request(), ctx)
    assert second.made
    assert harmed in caplog.text
    assert (second.ref == first) == (again == b"first")
    assert lost_objects(ctx.store, second.ref) == []
    assert reusable(ctx.store, request().key) == second.ref
    assert launch(request(), ctx).made is False


def test_a_trained_result_counts_its_weights(ctx: Context) -> None:
    weights = put_blob(ctx.store, b"tensors", "safetensors")
    note = {"note": f"blobs/{'0' * 64}.nothing"}
    joint = Record(kind="joint", parents={}, blobs={"ema": weights}, made_by={}, extra=note)
    ref = commit(ctx.store, "5" * 64, joint)
    assert reusable(ctx.store, ref.key) == ref
    ctx.store.write(weights.path, b"cut")
    assert lost_objects(ctx.store, ref) == [weights.path]
    ctx.store.delete(weights.path)
    assert lost_objects(ctx.store, ref) == [weights.path]
    assert reusable(ctx.store, ref.key) is None


def test_a_maker_that_waited_for_the_lease_adopts_what_was_recorded_meanwhile(ctx: Context) -> None:
    ref = record(ctx.store, request().key, b"first")
    assert make_here(request(), ctx) == ref
    assert MADE == []


def test_a_request_survives_the_way_through_the_store() -> None:
    assert Request.from_bytes(request().to_bytes()) == request()
    with pytest.raises(IntegrityError, match="request"):
        Request.from_bytes(request().to_bytes().replace(b'"seed":7', b'"seed":8'))


@pytest.mark.parametrize(
    ("stage", "run", "expected"),
    [
        ("evaluate", "one-gpu", Resources(cpus=4, gpus=1)),
        ("joint", "cluster", Resources()),
        ("tile", "laptop", Resources()),
    ],
)
@pytest.mark.parametrize("quiet", [True, False])
def test_a_stages_job_asks_for_what_the_run_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, run: str, expected: Resources, quiet: bool
) -> None:
    ctx = context(tmp_path, run=run, ray_jobs="http://c:8265")
    ctx.progress = Quiet() if quiet else RichProgress()
    asked = request(stage, ctx.run)
    seen: dict[str, Any] = {}

    def run_job(address: str, **words: Any) -> None:
        seen.update(words, address=address)
        record(ctx.store, asked.key, b"made by the job")

    monkeypatch.setattr(jobs, "run_job", run_job)
    assert launch(asked, ctx).made
    assert (seen["address"], seen["resources"], seen["start_within"]) == ("http://c:8265", expected, 900.0)
    assert (seen["on_log"] is None) == quiet, "a log that nobody reads is not asked for"
