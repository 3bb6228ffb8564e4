"""Stores, servers and settings that cannot work: one sentence, its exit code, soon, and nothing that looks whole."""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
import ray
from PIL import Image

from lsr.core.settings import load_settings
from lsr.store import open_store
from tests.cli.conftest import Answer, Ended, recorded

Lsr = Callable[..., Ended]
Server = Callable[[Answer], str]

SHARD = ("shard", "--set", "source.uri=set:thumbnails", "--set", "source.name=thumbs")


@pytest.fixture
def store() -> Path:
    """The folder of the embedded store of this test."""
    return load_settings().home / "store"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Points LSR_STORE at a bucket behind the given endpoint."""

    def point(endpoint: str) -> None:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            monkeypatch.delenv(name)
        settings = {
            "LSR_STORE": "s3://photos/dev",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": "AKIAEXAMPLE",
            "AWS_SECRET_ACCESS_KEY": "not-to-be-shown",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        for name, value in settings.items():
            monkeypatch.setenv(name, value)

    return point


@pytest.mark.parametrize("words", [("data", "list"), SHARD])
def test_an_endpoint_that_is_down_is_named_within_seconds(
    lsr: Lsr, s3: Callable[[str], None], words: tuple[str]
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
        s3(endpoint)
        started = time.monotonic()
        ended = lsr(*words)
    assert time.monotonic() - started < 30
    assert ended.code == 5
    for part in ("s3://photos/dev", f"{endpoint} gave no complete answer in 4 tries", "AWS_ENDPOINT_URL"):
        assert part in ended.sentence


def rejection(status: int, code: str) -> Answer:
    """An S3 server that rejects everything with this error; HEAD has no body, as in S3."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
    return lambda method, path: (status, "application/xml", "" if method == "HEAD" else body)


@pytest.mark.parametrize(
    ("status", "code", "words", "said"),
    [
        (404, "NoSuchBucket", ("data", "list"), "has no bucket of that name; create it"),
        (404, "NoSuchBucket", SHARD, "has no bucket of that name; create it"),
        (403, "InvalidAccessKeyId", ("data", "list"), "does not know the access key"),
        (403, "SignatureDoesNotMatch", ("data", "list"), "the secret key does not belong to the access key"),
        (403, "AccessDenied", ("data", "list"), "does not allow it with these credentials"),
        (403, "AccessDenied", SHARD, "does not allow it with these credentials"),
    ],
)
def test_a_wrong_bucket_and_wrong_credentials_are_told_apart(
    lsr: Lsr, server: Server, s3: Callable[[str], None], status: int, code: str, words: tuple[str], said: str
) -> None:
    s3(server(rejection(status, code)))
    ended = lsr(*words)
    assert ended.code == 5
    assert said in ended.sentence
    assert "s3://photos/dev" in ended.sentence
    assert "not-to-be-shown" not in ended.err
    assert "AKIAEXAMPLE" not in ended.err


@pytest.mark.parametrize(
    ("uri", "code", "said"),
    [
        ("file:///proc/lsr", 5, "choose"),
        ("file:///dev/null/store", 5, "not a folder"),
        ("ftp://host/folder", 2, "LSR_STORE must start with file:// or s3://"),
        ("file://relative", 2, "A store is file:///absolute/folder"),
    ],
)
def test_a_store_that_cannot_be_written_is_named(
    lsr: Lsr, monkeypatch: pytest.MonkeyPatch, uri: str, code: int, said: str
) -> None:
    monkeypatch.setenv("LSR_STORE", uri)
    ended = lsr(*SHARD)
    assert ended.code == code
    assert said in ended.sentence
    assert uri in ended.sentence


@pytest.mark.parametrize(
    ("assignment", "said"),
    [
        ("infer.scale=0", "infer.scale must be greater than 0, found 0"),
        ("infer.scale=NaN", "infer.scale must be a finite number, found nan"),
        ("evaluate.scales=[2.0, 0]", "evaluate.scales[1] must be greater than 0, found 0"),
        ("denoise.train.lr=NaN", "denoise.train.lr must be a finite number, found nan"),
        ("joint.loss.scales=[0.25, Infinity]", "joint.loss.scales[1] must be a finite number"),
        ("evaluate.scales=[1.0]", "at least 32 pixels"),
        ("source.name=../up", "name must be 1 to 100 letters"),
        ("denoise.train.stepz=3", "denoise.train.stepz is not a recipe field"),
    ],
)
def test_a_bad_recipe_fails_before_any_work(lsr: Lsr, store: Path, assignment: str, said: str) -> None:
    ended = lsr("shard", "--set", assignment)
    assert ended.code == 2
    assert said in ended.sentence
    assert not store.exists()


def test_all_faults_of_a_recipe_are_told_at_once(lsr: Lsr) -> None:
    sentence = lsr("shard", "--set", "tile.size=0", "--set", "infer.scale=-1", "--set", "gate.confidence=2").sentence
    for part in ("tile.size must", "infer.scale must", "gate.confidence must"):
        assert part in sentence


def test_an_alias_that_nobody_has_is_named_and_nothing_is_made(lsr: Lsr, store: Path, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    image = ("upscale", str(tmp_path / "a.png"), "--scale=2", "-o", str(tmp_path / "o.png"), "-m=lsr-demo@champion")
    for words in (("infer", "--set", "infer.alias=production"), image, ("generate", "-o", str(tmp_path / "drawn"))):
        ended = lsr(*words)
        assert ended.code == 4
        assert "lsr-demo" in ended.sentence
    assert recorded(store) == []
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("version", ["2.22.0", "3.9.2", "4.0.0"])
def test_an_mlflow_server_of_another_version_is_rejected(
    lsr: Lsr, server: Server, monkeypatch: pytest.MonkeyPatch, version: str
) -> None:
    address = server(lambda method, path: (200 if path == "/version" else 404, "text/plain", version))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    for words in (("runs",), ("models", "list")):
        ended = lsr(*words)
        assert ended.code == 8
        for part in (address, f"has version {version}", f"this client {mlflow.__version__}", "MLFLOW_TRACKING_URI"):
            assert part in ended.sentence


def test_a_server_that_is_no_mlflow_is_said(lsr: Lsr, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    address = server(lambda method, path: (404, "text/html", "<html>nothing here</html>"))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    ended = lsr("runs")
    assert ended.code == 5
    assert f"MLflow at {address} rejected a request" in ended.sentence


def ray_server(version: str) -> Answer:
    """What a Ray dashboard of this version says; it knows no job."""
    about = {"version": "4", "ray_version": version, "ray_commit": "0", "session_name": "s"}

    def answer(method: str, path: str) -> tuple[int, str, str]:
        if path == "/api/version":
            return 200, "application/json", json.dumps(about)
        return 404, "text/plain", f"Job {path.rsplit('/', 1)[-1]} does not exist"

    return answer


def test_a_ray_cluster_of_another_version_is_rejected_before_anything_is_submitted(
    lsr: Lsr, server: Server, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = server(ray_server("2.9.3"))
    monkeypatch.setenv("LSR_RAY_JOBS_ADDRESS", address)
    ended = lsr(*SHARD)
    assert ended.code == 8
    for part in (address, "runs Ray 2.9.3", f"this environment has {ray.__version__}", "Install ray==2.9.3"):
        assert part in ended.sentence
    assert recorded(store) == []
    assert not list(open_store(f"file://{store}").list("blobs/"))


def test_the_doctor_fails_a_cluster_and_a_tracking_server_of_other_versions(
    lsr: Lsr, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LSR_RAY_JOBS_ADDRESS", server(ray_server("2.9.3")))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server(lambda method, path: (200, "text/plain", "2.1.0")))
    ended = lsr("doctor", "--json")
    assert ended.code == 1
    findings = {row["part"]: row for row in json.loads(ended.out)}
    assert {part for part, row in findings.items() if not row["ok"]} == {"cluster", "tracking"}
    assert "2.9.3" in findings["cluster"]["text"]
    assert "2.1.0" in findings["tracking"]["text"]
