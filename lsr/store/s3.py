"""Objects below a prefix of an S3 bucket, through boto3.

Conditional writes are one small PutObject with If-None-Match or If-Match, which AWS, Ceph RGW and MinIO enforce; a
conditional CompleteMultipartUpload is not relied on. A request is retried by botocore ("standard" mode), what botocore
does not retry (409, an answer that breaks off, expired credentials) is retried here.
"""

from __future__ import annotations

import hashlib
import os
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as boto
from botocore.config import Config

from lsr.core.errors import ConflictError, NotFoundError
from lsr.store.base import ObjectInfo, changed, check_key, check_prefix, check_range
from lsr.store.files import explained, make_folder, unfinished
from lsr.store.s3_errors import EXPIRED, RACED, code_of, explain, safe_endpoint
from lsr.store.s3_options import S3Options, load_options

T = TypeVar("T")

_CHUNK = 1 << 20
# Answers to a request for the rest of an object that has been replaced by another one.
_OTHER_OBJECT = {"PreconditionFailed", "412", "InvalidRange", "416"}
_BROKEN_OFF = (boto.HTTPClientError, boto.IncompleteReadError, boto.FlexibleChecksumError)


class S3Store:
    """A `Store` at `s3://bucket/prefix`. Cheap to pickle and safe to fork: each process makes its own client."""

    def __init__(self, uri: str, options: S3Options | None = None) -> None:
        self._bucket, _, prefix = uri.removeprefix("s3://").strip("/").partition("/")
        self._folder = f"{check_key(prefix)}/" if prefix else ""
        self._uri = f"s3://{self._bucket}/{prefix}".rstrip("/")
        self._options = options or load_options()
        self._clients: dict[int, Any] = {}
        self._bucket_seen = False

    @property
    def uri(self) -> str:
        return self._uri

    def __repr__(self) -> str:
        return f"S3Store({self._uri!r})"

    def __reduce__(self) -> tuple[type[S3Store], tuple[str, S3Options]]:
        return S3Store, (self._uri, self._options)

    def read(self, key: str, start: int = 0, length: int | None = None) -> bytes:
        check_range(start, length)
        if length == 0:
            # HTTP cannot ask for an empty range.
            self._require(key)
            return b""
        extra = {} if start == 0 and length is None else {"Range": _range(start, length)}

        def get() -> bytes:
            reply = self._client().get_object(**self._at(key), **extra)
            return bytes(reply["Body"].read())

        with self._explained("read", key):
            try:
                return self._persist(get, again=lambda error: isinstance(error, _BROKEN_OFF))
            except boto.ClientError as error:
                if code_of(error) in {"InvalidRange", "416"}:
                    return b""
                raise

    def head(self, key: str) -> ObjectInfo | None:
        with self._explained("inspect", key):
            try:
                reply = self._persist(lambda: self._client().head_object(**self._at(key)))
            except boto.ClientError as error:
                if code_of(error) not in {"404", "NoSuchKey", "NotFound"}:
                    raise
                self._require_bucket()
                return None
        return ObjectInfo(key, int(reply["ContentLength"]), _bare(reply["ETag"]), reply["LastModified"].timestamp())

    def write(self, key: str, data: bytes) -> str:
        with self._explained("write", key):
            return self._put(key, data)

    def write_file(self, key: str, path: Path) -> None:
        def send() -> None:
            with open(path, "rb") as file:
                self._client().upload_fileobj(file, **self._at(key), Config=self._transfer())

        with self._explained("write", key):
            self._persist(send)

    def download(self, key: str, path: Path) -> str:
        with explained("download to", str(path)):
            make_folder(path.parent)
            with unfinished(path.parent) as (file, temp):
                with self._explained("download", key):
                    digest = self._receive(key, file)
                file.flush()
                os.replace(temp, path)
        return digest

    def _receive(self, key: str, file: BinaryIO) -> str:
        """The object into the empty `file`; its sha256. An answer that breaks off is asked for again from where it did.

        One stream, not the parts side by side of boto3's own downloads, which cost twice the processor time: several
        shards at a time fill the network.
        """
        got = _Received(file)

        def get() -> None:
            got.take(self._client().get_object(**self._at(key), **got.rest()))

        def again(error: Exception) -> bool:
            if code_of(error) in _OTHER_OBJECT or isinstance(error, boto.FlexibleChecksumError):
                got.forget()
                return True
            return isinstance(error, _BROKEN_OFF)

        while True:
            reached = file.tell()
            try:
                self._persist(get, again)
                return got.digest.hexdigest()
            except _BROKEN_OFF:
                # Each part of a large object has as many tries as a small object.
                if file.tell() < reached + self._options.part_bytes:
                    raise

    def create(self, key: str, data: bytes) -> bool:
        with self._explained("create", key):
            try:
                self._put(key, data, IfNoneMatch="*")
            except boto.ClientError as error:
                if code_of(error) in {"PreconditionFailed", "412"}:
                    return False
                raise
        return True

    def replace(self, key: str, data: bytes, etag: str) -> str:
        with self._explained("replace", key):
            try:
                return self._put(key, data, IfMatch=etag)
            except boto.ClientError as error:
                if code_of(error) not in {"PreconditionFailed", "412", "NoSuchKey", "404"}:
                    raise
                raise ConflictError(changed(f"{self._uri}/{key}")) from error

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        pages = self._pages(self._folder + check_prefix(prefix))
        while True:
            with self._explained("list", prefix):
                page = next(pages, None)
            if page is None:
                return
            for item in page.get("Contents", ()):
                # A key with a final slash is a console's folder marker, not an object.
                if not item["Key"].endswith("/"):
                    key, changed_at = item["Key"].removeprefix(self._folder), item["LastModified"].timestamp()
                    yield ObjectInfo(key, int(item["Size"]), _bare(item["ETag"]), changed_at)

    def delete(self, key: str) -> None:
        with self._explained("delete", key):
            self._persist(lambda: self._client().delete_object(**self._at(key)))

    def touch(self, key: str) -> None:
        def copy() -> None:
            # A copy onto itself must change something, which replacing the metadata by the same counts as.
            renewed = {"MetadataDirective": "REPLACE"}
            self._client().copy(self._at(key), **self._at(key), ExtraArgs=renewed, Config=self._transfer())

        with self._explained("touch", key):
            try:
                self._persist(copy, again=lambda error: code_of(error) in RACED)
            except boto.ClientError as error:
                if code_of(error) not in {"404", "NoSuchKey", "NotFound"}:
                    raise

    def delete_old(self, key: str, before: float) -> bool:
        found = self.head(key)
        if found is None or found.modified >= before:
            return False
        self.delete(key)
        return True

    def leftovers(self, before: float) -> Iterator[ObjectInfo]:
        token: dict[str, str] = {}
        while True:
            ask = {"Bucket": self._bucket, "Prefix": self._folder, **token}
            with self._explained("list uploads below", ""):
                page = self._persist(lambda ask=ask: self._client().list_multipart_uploads(**ask))  # type: ignore[misc]
            for upload in page.get("Uploads", ()):
                begun = upload["Initiated"].timestamp()
                if begun < before:
                    key, upload_id = upload["Key"].removeprefix(self._folder), upload["UploadId"]
                    yield ObjectInfo(key, self._sent(key, upload_id), upload_id, begun)
            if not page.get("IsTruncated"):
                return
            token = {"KeyMarker": page["NextKeyMarker"], "UploadIdMarker": page["NextUploadIdMarker"]}

    def discard(self, found: ObjectInfo) -> None:
        with self._explained("abort the upload of", found.key):
            try:
                self._persist(lambda: self._client().abort_multipart_upload(**self._at(found.key), UploadId=found.etag))
            except boto.ClientError as error:
                if code_of(error) not in {"404", "NoSuchUpload"}:
                    raise

    def _sent(self, key: str, upload: str) -> int:
        """Bytes of an upload that are there; 0 where the server does not say."""
        try:
            pages = self._client().get_paginator("list_parts").paginate(**self._at(key), UploadId=upload)
            return sum(int(part["Size"]) for page in pages for part in page.get("Parts", ()))
        except boto.ClientError:
            return 0

    def _pages(self, prefix: str) -> Iterator[Any]:
        token: dict[str, str] = {}
        while True:
            ask = {"Bucket": self._bucket, "Prefix": prefix, "MaxKeys": self._options.page_size, **token}
            page = self._persist(lambda ask=ask: self._client().list_objects_v2(**ask))  # type: ignore[misc]
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _put(self, key: str, data: bytes, **condition: str) -> str:
        def put() -> str:
            return _bare(self._client().put_object(**self._at(key), Body=data, **condition)["ETag"])

        return self._persist(put, again=lambda error: code_of(error) in RACED)

    def _require(self, key: str) -> None:
        if self.head(key) is None:
            raise NotFoundError(f"There is no object {key!r} in the store {self._uri}.")

    def _require_bucket(self) -> None:
        """The answer to HEAD has no body, so that a missing bucket looks like a missing object: ask once."""
        if self._bucket_seen:
            return
        try:
            self._client().head_bucket(Bucket=self._bucket)
        except boto.ClientError as error:
            if code_of(error) in {"404", "NoSuchBucket"}:
                raise boto.ClientError({"Error": {"Code": "NoSuchBucket"}}, "HeadBucket") from error
        self._bucket_seen = True

    def _at(self, key: str) -> dict[str, str]:
        return {"Bucket": self._bucket, "Key": self._folder + check_key(key)}

    def _client(self) -> Any:
        """This process's client. boto3 clients serve all threads but must not cross a fork."""
        pid = os.getpid()
        client = self._clients.get(pid)
        # Two threads may both make one; all then use the first that was stored.
        return client if client is not None else self._clients.setdefault(pid, _make_client(self._options))

    def _transfer(self) -> Any:
        part = self._options.part_bytes
        return TransferConfig(
            multipart_threshold=2 * part,
            multipart_chunksize=part,
            max_concurrency=min(4, self._options.connections),
        )

    def _persist(self, call: Callable[[], T], again: Callable[[Exception], bool] = lambda error: False) -> T:
        """Call until it succeeds, fails for good, or has been tried `attempts` times."""
        last = self._options.attempts - 1
        for attempt in range(last + 1):
            try:
                return call()
            except (boto.ClientError, boto.BotoCoreError) as error:
                expired = code_of(error) in EXPIRED
                if attempt == last or not (expired or again(error)):
                    raise
                if expired:
                    # A session keeps the keys it has read; a new one reads the rotated file.
                    self._clients.pop(os.getpid(), None)
            time.sleep(random.uniform(0, 0.1 * 2**attempt))
        raise AssertionError("unreachable")

    @contextmanager
    def _explained(self, doing: str, key: str) -> Iterator[None]:
        try:
            yield
        except (boto.ClientError, boto.BotoCoreError, ValueError) as error:
            client = self._clients.get(os.getpid())
            endpoint = safe_endpoint(client.meta.endpoint_url) if client is not None else "the S3 endpoint"
            where = f"{self._uri}/{key}"
            raise explain(error, doing=doing, where=where, endpoint=endpoint, tries=self._options.attempts) from error


class _Received:
    """What has come of an object: bytes in `file`, their digest, and the version that they are of."""

    def __init__(self, file: BinaryIO) -> None:
        self.digest = hashlib.sha256()
        self._file = file
        self._etag = ""

    def rest(self) -> dict[str, str]:
        """What asks for the part that is missing, of the same version."""
        start = self._file.tell()
        return {"Range": _range(start, None), "IfMatch": self._etag} if start else {}

    def take(self, reply: Any) -> None:
        self._etag = reply["ETag"]
        while chunk := reply["Body"].read(_CHUNK):
            self._file.write(chunk)
            self.digest.update(chunk)

    def forget(self) -> None:
        self._file.seek(0)
        self._file.truncate()
        self.digest = hashlib.sha256()


def _bare(etag: str) -> str:
    # AWS takes an If-Match of PutObject with or without the quotes; Ceph RGW 16 matches only without.
    return etag.strip('"')


def _range(start: int, length: int | None) -> str:
    return f"bytes={start}-" if length is None else f"bytes={start}-{start + length - 1}"


def _make_client(options: S3Options) -> Any:
    own_endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    # Virtual-hosted addresses need a wildcard DNS entry, which stores other than AWS rarely have.
    style = {"s3": {"addressing_style": "path"}} if own_endpoint else {}
    config = Config(
        connect_timeout=options.connect_timeout,
        read_timeout=options.read_timeout,
        retries={"mode": "standard", "total_max_attempts": options.attempts},
        max_pool_connections=options.connections,
        **style,
    )
    return boto3.session.Session().client("s3", config=config)
