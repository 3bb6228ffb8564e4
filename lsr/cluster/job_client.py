"""Ray's job client as lsr.cluster.jobs uses it: token, a limit on every request, and what its errors mean.

The token comes from RAY_AUTH_TOKEN or the file RAY_AUTH_TOKEN_PATH.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lsr.core.errors import ConfigError

_REQUEST_SECONDS = 30.0


def ray_client(address: str) -> Any:
    """Ray's client with the token from the environment and an end to every request."""
    from ray.job_submission import JobSubmissionClient

    for name in ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS"):
        if os.environ.get(name, address) != address:
            raise ConfigError(f"{name} is set and would send jobs for {address} elsewhere; unset it.")

    class Client(JobSubmissionClient):  # type: ignore[misc]
        def _do_request(self, *args: Any, **kwargs: Any) -> Any:
            # Without a timeout of its own, a server that accepts and never answers would hold the caller for ever.
            return super()._do_request(*args, **{"timeout": _REQUEST_SECONDS, **kwargs})

        def cluster_version(self) -> str:
            # get_version() is the version of the protocol.
            reply = self._do_request("GET", "/api/version")
            return str(reply.json()["ray_version"])

    return Client(address, headers=_authorization())


def _authorization() -> dict[str, str]:
    token = os.environ.get("RAY_AUTH_TOKEN", "")
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not token and path:
        try:
            token = Path(path).read_text()
        except OSError as error:
            raise ConfigError(f"RAY_AUTH_TOKEN_PATH names {path}, which cannot be read: {error.strerror}.") from error
    return {"Authorization": f"Bearer {token.strip()}"} if token.strip() else {}


def is_absent(error: Exception) -> bool:
    """Whether the server says that there is no such job."""
    text = str(error)
    return isinstance(error, RuntimeError) and "status code 404" in text and "does not exist" in text


def is_rejected(error: Exception) -> bool:
    """Whether the server wants another token."""
    return type(error).__name__ == "AuthenticationError"


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed later: no connection, no answer in time, or a proxy's 502 to 504."""
    from requests.exceptions import ConnectionError as NoConnection
    from requests.exceptions import Timeout

    text = str(error)
    busy = isinstance(error, RuntimeError) and any(f"status code {code}" in text for code in (502, 503, 504))
    return isinstance(error, ConnectionError | NoConnection | Timeout) or busy
