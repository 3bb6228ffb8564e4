"""The data pipeline through a network that fails, resets, delays and cuts short: the same digests as on a good one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsr.store import open_store

from ..services.proxy import Faults, counting_proxy
from .data_pipeline import fill, run

FAULTS = Faults(failed=0.05, lost=0.03, cut=0.03, slow=0.05, seconds=0.2)


def test_a_bad_network_changes_no_byte(s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(f"{s3_uri}/raw", 40)
    clean = run(f"{s3_uri}/raw", f"{s3_uri}/clean", tmp_path / "clean")
    monkeypatch.setenv("LSR_S3_ATTEMPTS", "8")
    with counting_proxy(os.environ["AWS_ENDPOINT_URL"], FAULTS) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        faulty = run(f"{s3_uri}/raw", f"{s3_uri}/faulty", tmp_path / "faulty")
    assert faulty == clean
    assert clean.samples > 50
    assert {kind for kind, count in proxy.faulty.items() if count >= 2} == {"failed", "lost", "cut", "slow"}


@pytest.mark.parametrize("kind", ["failed", "lost", "cut"])
def test_each_kind_of_fault_is_met_by_every_operation(
    s3_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setenv("LSR_S3_ATTEMPTS", "12")
    with counting_proxy(os.environ["AWS_ENDPOINT_URL"], Faults(**{kind: 0.4})) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        store = open_store(s3_uri)
        for number in range(8):
            store.write(f"k{number}", bytes([number]) * 5000)
            assert store.read(f"k{number}", 3, 10) == bytes([number]) * 10
            store.download(f"k{number}", tmp_path / "file")
            assert (tmp_path / "file").read_bytes() == bytes([number]) * 5000
        assert [info.key for info in store.list("")] == [f"k{number}" for number in range(8)]
        # A lost answer may hide a success: False, but the bytes are ours.
        assert store.create("once", b"once") or store.read("once") == b"once"
        for number in range(8):
            store.delete(f"k{number}")
        assert [info.key for info in store.list("")] == ["once"]
    assert proxy.faulty[kind] > 5
