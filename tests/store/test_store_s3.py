"""What is particular to S3: endpoints that are away, credentials that are wrong, replies that are lost."""

from __future__ import annotations

import hashlib
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from botocore import exceptions as boto
from botocore.stub import Stubber

from lsr.core.errors import ConfigError, ConflictError, IntegrityError, NotFoundError, StoreError
from lsr.store import open_store
from lsr.store.content import create_once
from lsr.store.pointers import read_pointer, write_pointer
from lsr.store.s3 import S3Store
from lsr.store.s3_errors import explain
from lsr.store.s3_options import S3Options, load_options
from tests.services.proxy import counting_proxy

IMPATIENT = S3Options(connect_timeout=0.5, read_timeout=0.3, attempts=2)


@pytest.fixture
def store(s3_uri):
    return S3Store(s3_uri)


def every_call(store):
    """One call of each kind that asks the server."""
    return {
        "read": lambda: store.read("k"),
        "inspect": lambda: store.head("k"),
        "write": lambda: store.write("k", b"1"),
        "create": lambda: store.create("k", b"1"),
        "replace": lambda: store.replace("k", b"1", "etag"),
        "list": lambda: list(store.list("")),
        "delete": lambda: store.delete("k"),
    }


def lose_first_reply(store, operation):
    """The server does what is asked, the connection breaks before its answer arrives, and boto3 asks again."""
    client, lost = store._client(), []

    def send(request, **_):
        if not lost:
            lost.append(client._endpoint.http_session.send(request))
            raise boto.ConnectionClosedError(endpoint_url=request.url)

    client.meta.events.register(f"before-send.s3.{operation}", send)
    return lost


def test_opening_a_store_asks_nobody_and_only_s3_loads_boto3():
    code = (
        "import sys; from lsr.store import open_store; open_store('file:///tmp/x'); assert 'boto3' not in sys.modules;"
        "open_store('s3://b/p'); assert 'boto3' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_endpoint_that_is_down_is_named(monkeypatch, s3_uri):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://user:hunter2@127.0.0.1:{port}")
    for doing, call in every_call(S3Store(s3_uri, S3Options(attempts=1))).items():
        with pytest.raises(
            StoreError, match=rf"^Cannot {doing} {s3_uri}.*http://127\.0\.0\.1:{port} gave no"
        ) as caught:
            call()
        assert "hunter2" not in str(caught.value)
        assert "AWS_ENDPOINT_URL" in str(caught.value)


def test_an_endpoint_that_never_answers_is_given_up(monkeypatch, s3_uri):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(StoreError, match=r"in 2 tries \(ReadTimeoutError\)"):
            S3Store(s3_uri, IMPATIENT).read("k")


def test_an_endpoint_that_is_no_address_is_a_setting_at_fault(monkeypatch, s3_uri):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "not an address")
    with pytest.raises(ConfigError, match="AWS_ENDPOINT_URL"):
        S3Store(s3_uri).read("k")


def test_a_missing_bucket_is_named_by_every_call(s3_uri):
    for call in every_call(S3Store("s3://lsr-no-such-bucket/prefix")).values():
        with pytest.raises(StoreError, match=r"s3://lsr-no-such-bucket/prefix.* no bucket of that name; create it"):
            call()


def test_missing_credentials_are_said(monkeypatch, s3_uri):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    with pytest.raises(StoreError, match="no usable credentials"):
        S3Store(s3_uri).read("k")


@pytest.mark.real_s3
@pytest.mark.parametrize("variable", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_a_real_server_rejects_wrong_credentials(monkeypatch, s3_uri, variable):
    monkeypatch.setenv(variable, "wrongwrongwrong")
    for doing, call in every_call(S3Store(s3_uri)).items():
        with pytest.raises(StoreError, match=f"Cannot {doing} .*(rejects the credentials|does not allow)") as caught:
            call()
        assert "wrongwrongwrong" not in str(caught.value)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("InvalidAccessKeyId", "does not know the access key"),
        ("SignatureDoesNotMatch", "does not belong to the access key"),
        ("RequestTimeTooSkewed", "clock"),
        ("AccessDenied", "does not allow it"),
        ("403", "does not allow it"),
        ("NoSuchBucket", "no bucket of that name"),
        ("SlowDown", "answered SlowDown after at most 4 tries"),
    ],
)
def test_what_a_server_rejects_is_explained_without_its_own_text(store, code, says):
    with Stubber(store._client()) as stub:
        stub.add_client_error("put_object", code, "The AWS Access Key Id AKIASECRET you provided", 403)
        with pytest.raises(StoreError, match=says) as caught:
            store.write("a/b", b"1")
    assert f"{store.uri}/a/b" in str(caught.value)
    assert "AKIASECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "kind", "says"),
    [
        (boto.ClientError({"Error": {"Code": "NoSuchKey"}}, "GetObject"), NotFoundError, "no such object"),
        (boto.ProfileNotFound(profile="x"), StoreError, "credentials"),
        (boto.FlexibleChecksumError(error_msg="x"), IntegrityError, "checksum"),
        (boto.ConnectTimeoutError(endpoint_url="http://u:p@h"), StoreError, "no complete answer"),
        (boto.InvalidRetryModeError(provided_retry_mode="x", valid_modes="y"), StoreError, "configuration files"),
    ],
)
def test_errors_of_boto3_itself_are_explained(error, kind, says):
    found = explain(error, doing="read", where="s3://b/k", endpoint="http://h", tries=4)
    assert type(found) is kind
    assert says in str(found)
    assert "u:p" not in str(found)


def test_a_conditional_write_that_met_another_one_is_tried_again(store):
    """409 says that a race is going on, not who won it."""
    with Stubber(store._client()) as stub:
        stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        stub.add_response("put_object", {"ETag": '"new"'}, {**store._at("k"), "Body": b"1", "IfNoneMatch": "*"})
        assert store.create("k", b"1")
        stub.assert_no_pending_responses()
    with Stubber(store._client()) as stub:
        for _ in range(store._options.attempts):
            stub.add_client_error("put_object", "ConditionalRequestConflict", http_status_code=409)
        with pytest.raises(StoreError, match="ConditionalRequestConflict"):
            store.create("k", b"1")


def test_a_lost_reply_to_create_is_resolved_by_comparing_bytes(store):
    """The retry finds the object there; it is this writer's own, and so `create_once` is content."""
    lost = lose_first_reply(store, "PutObject")
    assert create_once(store, "manifest", b"mine") is False
    assert lost
    assert store.read("manifest") == b"mine"
    with pytest.raises(ConflictError, match="manifest is written once and exists with other content"):
        create_once(store, "manifest", b"yours")


def test_a_lost_reply_to_replace_looks_like_a_conflict_and_a_pointer_knows_better(store):
    etag = store.write("raw", b"0")
    lose_first_reply(store, "PutObject")
    with pytest.raises(ConflictError):
        store.replace("raw", b"1", etag)
    assert store.read("raw") == b"1"

    store = S3Store(store.uri)
    write_pointer(store, "pointer", {"step": 1}, fencing=1)
    lost = lose_first_reply(store, "PutObject")
    write_pointer(store, "pointer", {"step": 2}, fencing=1)
    assert lost
    assert read_pointer(store, "pointer") == {"step": 2}


def test_expired_credentials_are_read_anew(store, monkeypatch):
    """Rotated keys of a profile are seen only by a new session."""
    store.write("k", b"1")
    old = store._client()

    def expired(**_):
        raise boto.ClientError({"Error": {"Code": "ExpiredToken"}}, "GetObject")

    monkeypatch.setattr(old, "get_object", expired)
    assert store.read("k") == b"1"
    assert store._client() is not old


class _BreaksOff(BaseHTTPRequestHandler):
    """Promises 100 bytes; sends half of them as often as `server.bad` says."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "100")
        self.end_headers()
        self.server.bad -= 1
        self.wfile.write(b"x" * (50 if self.server.bad >= 0 else 100))
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        return


@pytest.mark.parametrize("bad", [1, 2])
def test_an_answer_that_breaks_off_is_asked_for_again(monkeypatch, s3_uri, bad):
    server = ThreadingHTTPServer(("127.0.0.1", 0), _BreaksOff)
    server.bad = bad
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_address[1]}")
        store = S3Store(s3_uri, IMPATIENT)
        if bad < IMPATIENT.attempts:
            assert store.read("k") == b"x" * 100
        else:
            with pytest.raises(StoreError, match="no complete answer in 2 tries"):
                store.read("k")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def cuts(monkeypatch, store):
    """A function: the proxy to `store`'s server that cuts so many of the next answers in half, a store behind it, and
    the Range of each GetObject that it sends, None for the whole. before: called with the number of each.
    """
    with counting_proxy(os.environ["AWS_ENDPOINT_URL"]) as proxy:

        def make(faults, before=lambda number: None, **options):
            left = ["cut"] * faults
            monkeypatch.setattr(proxy, "fault", lambda: left.pop() if left else "")
            monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
            behind, ranges = S3Store(store.uri, S3Options(part_bytes=5 * 2**20, **options)), []

            def note(request, **_):
                before(len(ranges))
                asked = request.headers.get("Range")
                ranges.append(asked if asked is None else asked.decode())

            behind._client().meta.events.register("before-send.s3.GetObject", note)
            return behind, ranges

        yield make


def test_a_download_goes_on_where_its_answer_broke_off(store, cuts, tmp_path):
    data = os.urandom(16 * 2**20)
    store.write("large", data)
    behind, ranges = cuts(2, attempts=3)
    assert behind.download("large", tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert (tmp_path / "file").read_bytes() == data
    assert ranges == [None, f"bytes={8 * 2**20}-", f"bytes={12 * 2**20}-"]


def test_a_download_gives_up_when_its_tries_do_not_bring_a_part(store, cuts, tmp_path):
    """20 MiB, each answer half of what is missing: 10 and 5 MiB are more than a part, 2.5 and 1.25 are not."""
    store.write("large", bytes(20 * 2**20))
    behind, ranges = cuts(99, attempts=2)
    with pytest.raises(StoreError, match="no complete answer in 2 tries"):
        behind.download("large", tmp_path / "file")
    assert len(ranges) == 4
    assert not list(tmp_path.iterdir())


def test_a_download_never_mixes_two_versions_of_an_object(store, cuts, tmp_path):
    store.write("k", b"old" * 1000)
    behind, ranges = cuts(1, before=lambda number: number == 1 and store.write("k", b"new" * 1000), attempts=3)
    assert behind.download("k", tmp_path / "file") == hashlib.sha256(b"new" * 1000).hexdigest()
    assert (tmp_path / "file").read_bytes() == b"new" * 1000
    assert ranges == [None, "bytes=1500-", None]


def test_large_files_go_in_parts_with_checksums(store, tmp_path):
    store = S3Store(store.uri, S3Options(part_bytes=5 * 2**20))
    parts = []
    store._client().meta.events.register(
        "before-send.s3.UploadPart", lambda request, **_: parts.append(request.headers)
    )
    (tmp_path / "large").write_bytes(b"z" * (11 * 2**20))
    store.write_file("large", tmp_path / "large")
    assert len(parts) == 3
    assert all(any("checksum" in name.lower() or "trailer" in name.lower() for name in part) for part in parts)


def test_a_store_with_its_own_endpoint_is_addressed_by_path(monkeypatch, s3_uri):
    """Virtual-hosted names (bucket.objects.example) would need DNS; AWS itself keeps them."""

    def url_of(store):
        seen = []

        def stop(request, **_):
            seen.append(request.url)
            raise boto.ConnectionClosedError(endpoint_url=request.url)

        store._client().meta.events.register("before-send.s3.GetObject", stop)
        with pytest.raises(StoreError):
            store.read("k")
        return seen[0]

    once = S3Options(attempts=1)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://objects.example:1")
    assert url_of(S3Store("s3://some-bucket/p", once)) == "http://objects.example:1/some-bucket/p/k"
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert url_of(S3Store("s3://some-bucket/p", once)).startswith("https://some-bucket.s3.")


def test_each_process_has_its_own_client_and_all_threads_share_it(store, race, monkeypatch):
    store.write("k", b"1")
    mine = store._client()
    assert all(client is mine for client in race(8, lambda _: store._client()))
    fresh = S3Store(store.uri)
    assert len({id(client) for client in race(8, lambda _: fresh._client())}) == 1
    monkeypatch.setattr("lsr.store.s3.os.getpid", lambda: -1)
    assert store._client() is not mine
    assert store.read("k") == b"1"


def test_a_store_travels_to_another_process(store):
    store.write("k", b"1")
    again = pickle.loads(pickle.dumps(store))  # noqa: S301 - our own bytes
    assert again.uri == store.uri
    assert again.read("k") == b"1"


def test_a_bucket_without_prefix_is_a_store(s3_uri):
    whole = open_store(s3_uri.rpartition("/")[0])
    prefix = s3_uri.rpartition("/")[2]
    open_store(s3_uri).write("a/b", b"1")
    assert [info.key for info in whole.list(f"{prefix}/")] == [f"{prefix}/a/b"]
    assert whole.read(f"{prefix}/a/b") == b"1"


def test_the_folder_marks_of_consoles_are_no_objects(store):
    store.write("photos/a.jpg", b"1")
    store._client().put_object(Bucket=store._bucket, Key=f"{store._folder}photos/", Body=b"")
    assert [info.key for info in store.list("photos")] == ["photos/a.jpg"]


def test_options_come_from_the_environment_and_all_faults_are_named():
    found = load_options({"LSR_S3_CONNECT_TIMEOUT": "1.5", "LSR_S3_ATTEMPTS": "7", "HOME": "/x"})
    assert found == S3Options(connect_timeout=1.5, attempts=7)
    assert load_options({}) == S3Options()
    bad = {"LSR_S3_ATTEMPTS": "0", "LSR_S3_READ_TIMEOUT": "nan", "LSR_S3_PAGE_SIZE": "2.5", "LSR_S3_PART_BYTES": "1000"}
    with pytest.raises(ConfigError) as caught:
        load_options(bad)
    for name, value in bad.items():
        assert name in str(caught.value)
        assert value in str(caught.value)


def test_options_reach_the_client(s3_uri):
    options = S3Options(connect_timeout=1.5, read_timeout=2.5, attempts=3, connections=5)
    config = S3Store(s3_uri, options)._client().meta.config
    assert (config.connect_timeout, config.read_timeout, config.max_pool_connections) == (1.5, 2.5, 5)
    assert config.retries["mode"] == "standard"
    assert config.retries["total_max_attempts"] == 3


def test_a_condition_is_sent_without_the_quotes_of_the_reply(store):
    """Ceph RGW 16 answers 412 to a quoted etag although it is the right one; AWS takes both."""
    sent = []
    store._client().meta.events.register("before-send.s3.PutObject", lambda request, **_: sent.append(request.headers))
    etag = store.write("p", b"1")
    assert etag == store.head("p").etag == next(store.list("")).etag
    store.replace("p", b"2", etag)
    condition = sent[-1]["If-Match"]
    assert (condition.decode() if isinstance(condition, bytes) else condition) == etag.strip('"')


def test_an_upload_that_was_killed_is_found_and_discarded(s3_uri):
    """And only that of this store's prefix, and only by its age."""
    store, other = open_store(s3_uri), open_store(f"{s3_uri}-other")
    for one in (store, other):
        upload = one._client().create_multipart_upload(**one._at("blobs/x.tar"))["UploadId"]
        one._client().upload_part(**one._at("blobs/x.tar"), UploadId=upload, PartNumber=1, Body=b"1" * 7)
    # moto dates every upload to 2010.
    assert list(store.leftovers(1.0e9)) == []
    (found,) = store.leftovers(time.time() + 60)
    assert (found.key, found.size) == ("blobs/x.tar", 7)
    store.discard(found)
    store.discard(found)
    assert list(store.leftovers(time.time() + 60)) == []
    assert len(list(other.leftovers(time.time() + 60))) == 1
    store.write_file("blobs/x.tar", Path(__file__))
    assert store.read("blobs/x.tar") == Path(__file__).read_bytes()
