"""What web addresses gave: fetched once, kept in the store, and the same from then on.

A snapshot pins a web address by the name of the fetch, because nothing is known of its content before. The first bytes
that came under that name are `parts/<address>-<fetch>.raw`, created once; who comes later adopts them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from data_prep.fetch import AT_ONCE, UnfetchedError, fetch
from data_prep.items import Item
from lsr.core.canonical import sha256_hex
from lsr.core.errors import NotFoundError
from lsr.store import Store

PIN = "fetch:"
"""What the pin of a web address begins with; the name of the fetch follows."""

FETCH_DIGITS = 16


def is_web(item: Item) -> bool:
    """Whether the item is at a web address."""
    return item.pin.startswith(PIN)


def copies(store: Store, address: str) -> list[str]:
    """Keys of what the store keeps of a web address, under whatever name it was fetched."""
    return [info.key for info in store.list(f"parts/{sha256_hex(address.encode())}-")]


class Fetched:
    """Files at web addresses of at most `limit` bytes each. failed: whether one that was asked for may come another
    time.
    """

    def __init__(self, store: Store, limit: int) -> None:
        self._store, self._limit = store, limit
        self.failed = False

    def read(self, item: Item) -> bytes:
        """The bytes kept of the item, fetched and kept unless they are. Raises UnfetchedError."""
        digest, name = sha256_hex(item.path.encode()), sha256_hex(item.pin.encode())
        key = f"parts/{digest}-{name[:FETCH_DIGITS]}.raw"
        try:
            data = self._store.read(key)
        except NotFoundError:
            data = fetch(item.path, self._limit)
            if not self._store.create(key, data):
                data = self._store.read(key)
        if len(data) > self._limit:
            raise UnfetchedError(f"It has more bytes than max_file_bytes = {self._limit}.")
        return data

    def ahead(self, items: Sequence[Item]) -> Iterator[bytes | UnfetchedError]:
        """What `read` gives for each, in their order; AT_ONCE are fetched at a time, and no more are held."""
        if not items:
            return
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fetch") as pool:
            coming: deque[Future[bytes | UnfetchedError]] = deque()
            for item in items:
                coming.append(pool.submit(self._tried, item))
                if len(coming) == AT_ONCE:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def _tried(self, item: Item) -> bytes | UnfetchedError:
        try:
            return self.read(item)
        except UnfetchedError as error:
            self.failed |= error.passing
            return error
