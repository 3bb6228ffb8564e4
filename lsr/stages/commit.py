"""Recording a data manifest as a stage's result."""

from __future__ import annotations

from lsr.core.refs import Ref
from lsr.data.manifest import Manifest
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.store.actions import commit
from lsr.store.attempts import Lease


def commit_manifest(request: Request, ctx: Context, lease: Lease, manifest: Manifest) -> Ref:
    """The reference of `manifest`, committed under the lease as the result of `request`."""
    lease.check()
    return commit(ctx.store, request.key, manifest.record())
