"""The command `lsr`. Imports lazily, so that `lsr --help` needs neither torch nor a service.

Exit codes are the ones of `lsr.core.errors`; 0 is success and 130 an interruption. Never a traceback for what a
user can cause.
"""

from __future__ import annotations


def main() -> None:
    """Entry point of the console script."""
    from lsr.cli.main import run

    run()
