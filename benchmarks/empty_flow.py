"""The reference of `cached_rerun`: a process that starts Prefect as `lsr retrain` does, for a flow that does nothing.

Run as `python -m benchmarks.empty_flow`, with LSR_HOME saying where the server's database is.
"""

from __future__ import annotations

import os

from flows.start import prefect_environment
from lsr.core.settings import load_settings


def main() -> None:
    """One empty flow run on an ephemeral server."""
    for name, value in prefect_environment(load_settings()).items():
        os.environ.setdefault(name, value)
    from prefect import flow

    @flow(name="empty", persist_result=False)
    def empty() -> int:
        return 0

    empty()


if __name__ == "__main__":
    main()
