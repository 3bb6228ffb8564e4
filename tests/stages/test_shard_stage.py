"""The stage *shard* itself, over a base: kept and built shards stand in the manifest in their order."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from data_prep.config import ShardConfig, SourceConfig
from lsr.core.canonical import sha256_hex
from lsr.core.errors import StoreError
from lsr.core.settings import Settings, load_settings
from lsr.data.manifest import Manifest, load_manifest
from lsr.data.shards import index_rows
from lsr.data.verify import verify
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.engine.source import snapshot
from lsr.recipes.run import MapRun, Run, load_run
from lsr.stages.shard import make as shard
from lsr.store import Store, open_store
from lsr.store.attempts import Lease
from tests.tools.test_compare import draw

RULES = ShardConfig(max_shard_bytes=4096, min_side=1, holdout=0.0)


@dataclass
class Here:
    """A Context that works in this process."""

    settings: Settings
    store: Store
    run: Run

    def each(
        self, function: Callable[[Any], Any], items: Sequence[Any], spread: MapRun, name: str, unit: str
    ) -> Generator[tuple[int, Any]]:
        """Last things first: a plan does not depend on what is done when."""
        self.mapped = {**getattr(self, "mapped", {}), name: len(items)}
        return ((place, function(items[place])) for place in reversed(range(len(items))))

    map = Context.map

    def shared_cache(self) -> str:
        """The cache of this process."""
        return str(self.settings.cache)


class Free:
    """A lease that nobody else wants."""

    def check(self) -> None:
        """It is ours."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Here:
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    settings = load_settings()
    return Here(settings, open_store(settings.store), load_run("laptop"))


def run(here: Here, folder: Path, config: ShardConfig) -> tuple[str, Manifest]:
    ctx = cast(Context, here)
    listed = snapshot(SourceConfig(uri=str(folder), name="mine"), ctx)
    key = sha256_hex(f"{listed.digest} {config.base}".encode())
    request = Request(
        stage="shard", key=key, inputs={"snapshot": listed}, config={}, name="mine", task="t", seed=0, run={}
    )
    path = shard(request, config, ctx, cast(Lease, Free())).path
    return path, load_manifest(here.store, path)


def test_inspections_end_when_the_plan_cannot_be_made(
    here: Here, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(40):
        draw(tmp_path / "raw", f"p{number:02}", number)
    ended: list[str] = []

    def each(*_: Any) -> Generator[tuple[int, Any]]:
        try:
            yield 0, ["found"]
            yield 1, ["more"]
        finally:
            ended.append("inspections")

    def full(found: Iterator[Any], config: ShardConfig) -> Any:
        assert next(found) == "found"
        raise StoreError("The temporary file of a listing cannot be used.")

    monkeypatch.setattr(here, "each", each, raising=False)
    monkeypatch.setattr("lsr.stages.shard.plan", full)
    with pytest.raises(StoreError) as met:
        run(here, tmp_path / "raw", RULES)
    # `met` holds every frame: nothing was ended by garbage collection.
    assert ended == ["inspections"]
    assert met.value.exit_code == StoreError.exit_code


def test_the_stage_builds_only_what_its_base_lacks(here: Here, tmp_path: Path) -> None:
    folder = tmp_path / "raw"
    for number in range(30):
        draw(folder, f"p{number:02}", number)
    path, first = run(here, folder, RULES)
    assert len(first.shards) > 5
    (folder / "p04.png").unlink()
    draw(folder, "a-new", 100)
    _, grown = run(here, folder, replace(RULES, base=path))
    assert here.mapped["shard"] == 2
    assert len(set(grown.shards) & set(first.shards)) == len(first.shards) - 1
    changed = [i for i, (a, b) in enumerate(zip(first.shards, grown.shards)) if a != b]
    assert len(changed) == 1
    sources = [row.source for row in index_rows(here.store, grown)]
    assert sorted(sources) == sorted(["a-new.png", *(f"p{n:02}.png" for n in range(30) if n != 4)])
    assert sources[-1] == "a-new.png"
    assert verify(here.store, grown) == []
    assert grown.parents["base"] == first.digest
