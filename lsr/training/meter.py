"""How fast a run is and what it waits for. Standard library only."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


class Meter:
    """Throughput since the last `read`, on this rank's clock."""

    def __init__(self) -> None:
        self._images, self._waited, self._since = 0, 0.0, time.monotonic()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Time inside counts as waiting for data."""
        started = time.monotonic()
        try:
            yield
        finally:
            self._waited += time.monotonic() - started

    def count(self, images: int) -> None:
        """`images` more have been trained on."""
        self._images += images

    def read(self) -> dict[str, float]:
        """images_per_second, data_wait (share of the time, 0 to 1), peak_rss_mib; starts the next interval."""
        seconds = max(time.monotonic() - self._since, 1e-9)
        # macOS counts bytes, everything else KiB.
        unit = 2**20 if sys.platform == "darwin" else 2**10
        values = {
            "images_per_second": self._images / seconds,
            "data_wait": min(self._waited / seconds, 1.0),
            "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit,
        }
        self._images, self._waited, self._since = 0, 0.0, time.monotonic()
        return values
