"""Our shards as Ray Data reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from lsr.cluster.session import Session
from lsr.data.manifest import urls
from lsr.store import open_store
from tests.data.conftest import make_set, npy, png, sample


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_ray_data_opens_our_tars_by_their_addresses(shared_ray: Session, tmp_path: Path) -> None:
    import ray.data

    store = open_store(f"file://{tmp_path}")
    members = {f"{n:016x}-0-0": {"png": png(n), "hr.npy": npy(n)} for n in range(7)}
    samples = [sample(key, found) for key, found in members.items()]
    made = make_set(store, "tiles", [samples], {}, {})
    found = ray.data.read_webdataset(urls(store, made), decoder=None, override_num_blocks=1).take_all()
    assert {row["__key__"]: {"png": row["png"], "hr.npy": row["hr.npy"]} for row in found} == members
