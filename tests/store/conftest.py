"""Stores for the contract tests: a folder, and S3 by moto, or a real server's where LSR_TEST_S3_URI names one.

With LSR_TEST_S3_URI=s3://bucket/prefix and the usual AWS_* variables (AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, ...) every
S3 test of this folder runs against that server and is marked `services`; the bucket must exist. tests/services does so.
Tests marked `real_s3` are about what moto does not imitate, and are left out without a real server.
"""

from __future__ import annotations

import os
import secrets
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from lsr.store import Store, open_store

REAL_S3 = os.environ.get("LSR_TEST_S3_URI")
BUCKET = "lsr-contract"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """`-m services` selects the whole contract once a real server is named."""
    if not REAL_S3:
        left_out = [item for item in items if item.get_closest_marker("real_s3")]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        here = REAL_S3 and item.path.is_relative_to(Path(__file__).parent)
        if here and ("s3_uri" in getattr(item, "fixturenames", ()) or "[s3" in item.name):
            item.add_marker(pytest.mark.services)


@pytest.fixture(scope="session")
def moto_server() -> Iterator[str]:
    """Address of a moto server."""
    from moto.s3.responses import S3Response
    from moto.server import ThreadedMotoServer

    patch = pytest.MonkeyPatch()
    # A real server checks a condition and writes as one step; moto checks, then writes.
    one_at_a_time, put_object = threading.Lock(), S3Response.put_object

    def atomic_put_object(self: Any) -> Any:
        with one_at_a_time:
            return put_object(self)

    patch.setattr(S3Response, "put_object", atomic_put_object)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()
    patch.undo()


@pytest.fixture(scope="module")
def moto_endpoint(moto_server: str) -> str:
    """Its address, with one bucket, made for each module: other modules' `mock_aws` empties all of moto."""
    client = boto3.client(
        "s3", endpoint_url=moto_server, aws_access_key_id="key", aws_secret_access_key="secret", region_name="us-east-1"
    )
    client.create_bucket(Bucket=BUCKET)
    return moto_server


@pytest.fixture(scope="session")
def real_prefix() -> Iterator[str]:
    """A prefix of the real server for this session, emptied at its end."""
    prefix = f"{REAL_S3}/session-{secrets.token_hex(6)}"
    yield prefix
    store = open_store(prefix)
    for info in list(store.list("")):
        store.delete(info.key)


@pytest.fixture
def s3_uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A fresh prefix of an S3 server whose address and credentials are in the environment of this test only."""
    prefix = f"test-{secrets.token_hex(6)}"
    if REAL_S3:
        return f"{request.getfixturevalue('real_prefix')}/{prefix}"
    endpoint: str = request.getfixturevalue("moto_endpoint")
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    return f"s3://{BUCKET}/{prefix}"


@pytest.fixture(params=["file", "s3"])
def uri(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Each kind of store in turn, empty."""
    if request.param == "s3":
        found: str = request.getfixturevalue("s3_uri")
        return found
    return f"file://{tmp_path / 'the store'}"


@pytest.fixture
def store(uri: str, monkeypatch: pytest.MonkeyPatch) -> Store:
    """An empty store of each kind; listings come in pages of 7."""
    monkeypatch.setenv("LSR_S3_PAGE_SIZE", "7")
    return open_store(uri)


class Counting:
    """A store that counts calls by method name and can run `before[name]` ahead of a call."""

    def __init__(self, inner: Store) -> None:
        self.inner = inner
        self.calls: Counter[str] = Counter()
        self.before: dict[str, Callable[..., None]] = {}
        self.after: dict[str, Callable[..., None]] = {}

    def __getattr__(self, name: str) -> Any:
        member = getattr(self.inner, name)
        if not callable(member):
            return member

        def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] += 1
            self.before.get(name, lambda *_: None)(*args)
            result = member(*args, **kwargs)
            self.after.get(name, lambda *_: None)(*args)
            return result

        return call


@pytest.fixture
def counting(store: Store) -> Counting:
    return Counting(store)


def race(count: int, work: Callable[[int], Any]) -> list[Any]:
    """Results of `work(0) ... work(count - 1)`, all started at the same moment in threads; an exception is a result."""
    barrier = threading.Barrier(count)
    results: list[Any] = [None] * count

    def run(i: int) -> None:
        barrier.wait()
        try:
            results[i] = work(i)
        except Exception as error:
            results[i] = error

    threads = [threading.Thread(target=run, args=(i,)) for i in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


@pytest.fixture(name="race")
def _race() -> Callable[[int, Callable[[int], Any]], list[Any]]:
    return race
