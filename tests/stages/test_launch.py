"""The launcher: made once, reused by the store's record, waited for while another process makes it."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from lsr.core.canonical import canonical_json
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.recipes import load_recipe
from lsr.stages import launch as launching
from lsr.stages.context import Context
from lsr.stages.launch import build_request, decode_request, encode_request, launch
from lsr.stages.line import STEPS, Step
from lsr.store import open_store
from lsr.store.content import commit

MADE: list[str] = []


def make(request: Any, config: Any, ctx: Context, lease: Any) -> Ref:
    """A stage that takes a moment and counts itself."""
    MADE.append(request.key)
    time.sleep(0.3)
    lease.check()
    manifest = canonical_json({"made": request.stage})
    return commit(ctx.store, kind="images", key=request.key, directory="datasets/t", manifest=manifest)


def broken(request: Any, config: Any, ctx: Context, lease: Any) -> Ref:
    """A stage that fails before it has a result."""
    raise RuntimeError("half-way")


@pytest.fixture
def ctx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Context:
    MADE.clear()
    step = STEPS["shard"]
    fields = {f: getattr(step, f) for f in ("name", "kind", "version", "inputs", "config", "part")}
    monkeypatch.setitem(STEPS, "shard", Step(**fields, function=f"{__name__}:make"))
    monkeypatch.setattr(Step, "load", lambda self: make if self.function.endswith(":make") else broken)
    monkeypatch.setattr(launching, "POLL_SECONDS", 0.05)
    return context(tmp_path)


def context(folder: Path) -> Context:
    uri = f"file://{folder / 'store'}"
    settings = Settings(home=folder, store=uri, mlflow=f"sqlite:///{folder}/mlflow.db")
    return Context(settings=settings, store=open_store(uri), compute=load_recipe("demo").compute)


def request() -> Any:
    snapshot = Ref(kind="snapshot", key="a", digest="a" * 64, path="snapshots/a.json")
    return build_request("shard", load_recipe("demo"), {"snapshot": snapshot})


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


def test_a_failed_attempt_leaves_no_result_and_the_next_one_goes_on(ctx: Context) -> None:
    step = STEPS["shard"]
    good = step.function
    object.__setattr__(step, "function", f"{__name__}:broken")
    with pytest.raises(RuntimeError, match="half-way"):
        launch(request(), ctx)
    object.__setattr__(step, "function", good)
    assert launch(request(), ctx).made
    assert [i.key.rsplit("/", 1)[-1] for i in ctx.store.list(f"runs/{request().key}/attempt")] == [
        "attempt-1.json",
        "attempt-2.json",
    ]


def test_a_request_survives_the_way_through_the_store() -> None:
    assert decode_request(encode_request(request())) == request()
