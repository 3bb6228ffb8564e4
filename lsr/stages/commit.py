"""Recording a data manifest as a stage's result."""

from __future__ import annotations

from lsr.core.refs import Ref
from lsr.data.manifest import Manifest
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.store.attempts import Lease
from lsr.store.content import commit


def commit_manifest(request: Request, ctx: Context, lease: Lease, manifest: Manifest) -> Ref:
    """The reference of `manifest`, committed under the lease as the result of `request`."""
    lease.check()
    return commit(
        ctx.store, kind=manifest.kind, key=request.key, directory=manifest.directory, manifest=manifest.to_bytes()
    )
