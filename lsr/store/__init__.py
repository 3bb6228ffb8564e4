"""Objects at `file://...` and `s3://...` behind one small interface.

`base` says what a store promises, `local` and `s3` keep the promise, `content` names blobs by their bytes and commits
results, `attempts` and `pointers` keep two writers of one run apart. boto3 is loaded when the first `s3://` store is
opened.
"""

from __future__ import annotations

from lsr.core.errors import ConfigError
from lsr.store.base import ObjectInfo, Store

__all__ = ["ObjectInfo", "Store", "open_store"]


def open_store(uri: str) -> Store:
    """The store at `file:///folder` or `s3://bucket/prefix`; nothing is read or made yet.

    What follows `file://` is taken literally as an absolute path, spaces and `#` included.
    Raises ConfigError for another scheme, a relative path or a missing bucket.
    """
    scheme, _, rest = uri.partition("://")
    if scheme == "file" and rest.startswith("/"):
        from lsr.store.local import LocalStore

        return LocalStore(rest)
    if scheme == "s3" and rest.strip("/") and not rest.startswith("/"):
        from lsr.store.s3 import S3Store

        return S3Store(uri)
    raise ConfigError(f"A store is file:///absolute/folder or s3://bucket/prefix, found {uri!r}.")
