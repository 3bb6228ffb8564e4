"""Patience and width of the S3 client, read from LSR_S3_* variables. Standard library and lsr.core only.

Where the endpoint is and who asks stay boto3's own variables (AWS_ENDPOINT_URL, AWS_PROFILE, ...), and so does the
switch for stores that do not know today's checksums (AWS_REQUEST_CHECKSUM_CALCULATION=when_required).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lsr.core.errors import ConfigError


@dataclass(frozen=True, kw_only=True, slots=True)
class S3Options:
    """connect_timeout, read_timeout: seconds without progress before a try is given up. attempts: tries a request.
    connections: kept open at most. part_bytes: part size of a multipart upload, which starts at twice this size.
    page_size: keys a page of a listing. Each is LSR_S3_<NAME> in the environment.
    """

    connect_timeout: float = 5.0
    read_timeout: float = 30.0
    attempts: int = 4
    connections: int = 16
    part_bytes: int = 16 * 2**20
    page_size: int = 1000


SMALLEST: dict[str, int | float] = {
    "connect_timeout": 0.001,
    "read_timeout": 0.001,
    "attempts": 1,
    "connections": 1,
    # S3 rejects smaller parts.
    "part_bytes": 5 * 2**20,
    "page_size": 1,
}


def load_options(environ: Mapping[str, str] | None = None) -> S3Options:
    """S3Options from the environment. Raises ConfigError naming every variable that is no number or too small."""
    env = os.environ if environ is None else environ
    values: dict[str, Any] = {}
    faults = []
    for field in dataclasses.fields(S3Options):
        name = f"LSR_S3_{field.name.upper()}"
        if name not in env:
            continue
        smallest = SMALLEST[field.name]
        try:
            value = type(smallest)(env[name])
        except ValueError:
            value = -1
        if smallest <= value < float("inf"):
            values[field.name] = value
        else:
            kind = "a whole number" if isinstance(smallest, int) else "a number"
            faults.append(f"{name} must be {kind} of at least {smallest}, found {env[name]!r}.")
    if faults:
        raise ConfigError(" ".join(faults))
    return S3Options(**values)
