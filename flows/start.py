"""Starting a flow from the command line: Prefect's surroundings are set before Prefect is imported.

Embedded profile: an ephemeral Prefect server whose database is below LSR_HOME; with PREFECT_API_URL set, that server.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from flows.forms import changes_of
from flows.leftovers import reap, record_children
from lsr.core.errors import LsrError, RunFailedError
from lsr.core.settings import Settings, load_settings
from lsr.recipes import load_recipe
from lsr.recipes.run import load_run

SERVER_START_SECONDS = "120"


def prefect_environment(settings: Settings) -> dict[str, str]:
    """Variables under which Prefect keeps everything below `settings.home`, calls nobody and logs quietly."""
    return {
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": SERVER_START_SECONDS,
        "PREFECT_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "PREFECT_CLI_PROMPT": "false",
    }


@contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """SIGTERM ends the flow as Ctrl-C does, so that contexts close and leave no process behind."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _server_starting(settings: Settings) -> Iterator[None]:
    """While the block runs, the ephemeral server starts; it is ready after the block. Nothing where one is named.

    Prefect itself starts it inside the flow call and waits, seconds in which this process has imports to do.
    """
    if settings.prefect_api is not None:
        yield
        return
    from prefect.server.api.server import SubprocessASGIServer

    failed: list[Exception] = []

    def start() -> None:
        try:
            # The instance that the flow's own client asks for, which then finds it running.
            SubprocessASGIServer().start()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=start, name="prefect-server", daemon=True)
    thread.start()
    try:
        yield
    finally:
        # Prefect ends its server at exit, but only one that it has finished starting.
        thread.join()
    if failed:
        raise RunFailedError(
            f"Prefect's ephemeral server did not start: {failed[0]} See whether the machine is overloaded or the disk "
            f"is full, then run the same command again."
        ) from failed[0]


class _Told(logging.Filter):
    """Drops what Prefect prints of an error that the command line tells in one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        return not isinstance(error, LsrError) and not record.getMessage().startswith("Finished in state Failed")


def _tell_errors_once() -> None:
    """On the terminal only: the server and its page keep Prefect's own account, with the traceback."""
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Told())


def run_retrain(
    recipe: str, overrides: dict[str, str], run: str, run_overrides: dict[str, str], *, quiet: bool
) -> dict[str, Any]:
    """Run the flow *retrain* in this process and return its report.

    Processes that a killed earlier run left behind are ended first. Raises ConfigError for a bad recipe or run before
    anything starts, RunFailedError when Prefect's server does not start, StoreError when MLflow cannot be opened.
    """
    changes = changes_of(load_recipe(recipe, overrides), overrides)
    run_changes = changes_of(load_run(run, run_overrides), run_overrides)
    settings = load_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    reap(settings.home)
    for name, value in prefect_environment(settings).items():
        os.environ.setdefault(name, value)
    with _sigterm_interrupts(), record_children(settings.home):
        with _server_starting(settings):
            from flows.retrain import retrain
            from lsr.registry.connect import connect

            connect(settings.mlflow)
        _tell_errors_once()
        report: dict[str, Any] = retrain(recipe=recipe, changes=changes, run=run, run_changes=run_changes, quiet=quiet)
    return report
