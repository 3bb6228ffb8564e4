"""The launcher: a recorded result is reused; otherwise the stage runs here, or as a Ray job where a cluster is set.

Reuse is decided by the store alone. A stage that another living process is making is waited for, not made twice.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from lsr.core.errors import RunFailedError
from lsr.core.progress import Quiet
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.request import Request
from lsr.engine.reuse import lost_objects, reusable
from lsr.engine.table import stage_named
from lsr.store import Store
from lsr.store.actions import forget, lookup
from lsr.store.attempts import Lease, RunningElsewhere, claim, keep_alive, owner_record

LEASE_SECONDS = 60.0
POLL_SECONDS = 2.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """How a stage's result came about. note: what else is to be said of it."""

    stage: str
    ref: Ref
    made: bool
    seconds: float
    note: str = ""


def launch(request: Request, ctx: Context) -> Outcome:
    """The request's result: reused if the store records it and has all of it, else made once, whoever makes it."""
    started = time.monotonic()
    found = reusable(ctx.store, request.key)
    if found is not None:
        return Outcome(stage=request.stage, ref=found, made=False, seconds=time.monotonic() - started)
    ref = make_here(request, ctx) if ctx.settings.embedded else _make_by_job(request, ctx)
    seconds, note = time.monotonic() - started, ctx.notes.get(request.key, "")
    return Outcome(stage=request.stage, ref=ref, made=True, seconds=seconds, note=note)


def make_here(request: Request, ctx: Context) -> Ref:
    """Run the stage in this process under a lease. Waits for another living maker and adopts its result."""
    # Before the lease: a collector of garbage that sees a living lease reads here what it works with.
    ctx.store.write(_request_key(request.key), request.to_bytes())
    while True:
        try:
            lease = claim(ctx.store, request.key, request.stage, owner=owner_record(), ttl=LEASE_SECONDS)
            break
        except RunningElsewhere:
            time.sleep(POLL_SECONDS)
            found = _whole(ctx.store, request.key)
            if found is not None:
                return found
    outcome = "failed"
    try:
        with keep_alive(lease):
            ref = _make(request, ctx, lease)
        outcome = "finished"
        return ref
    finally:
        lease.release(outcome)


def _make(request: Request, ctx: Context, lease: Lease) -> Ref:
    """Run the stage's function, unless another maker has recorded the result since it was looked for."""
    found = lookup(ctx.store, request.key)
    if found is not None and not lost_objects(ctx.store, found):
        return found
    if found is not None:
        # Under the lease: a commit adopts the result on record, and this one is lost.
        forget(ctx.store, request.key)
    return stage_named(request.stage).make(request, ctx, lease)


def _whole(store: Store, key: str) -> Ref | None:
    found = lookup(store, key)
    return None if found is None or lost_objects(store, found) else found


def _request_key(key: str) -> str:
    return f"runs/{key}/request.json"


def _make_by_job(request: Request, ctx: Context) -> Ref:
    """Run the stage as a Ray job whose id is the attempt's; a living or finished job is re-attached."""
    from lsr.cluster.jobs import run_job

    ctx.store.write(_request_key(request.key), request.to_bytes())
    address = ctx.settings.ray_jobs
    assert address is not None
    # A flow that nobody watches asks for no log: the cluster keeps it.
    quiet = isinstance(ctx.progress, Quiet)
    run_job(
        address,
        entrypoint=f"python -m lsr.engine.run {ctx.store.uri}/{_request_key(request.key)}",
        name=f"{request.stage}-{request.key[:12]}",
        env=ctx.job_environment(),
        resources=stage_named(request.stage).resources(ctx.run),
        start_within=ctx.run.start_within,
        on_log=None if quiet else ctx.job_log,
        accept=lambda: _whole(ctx.store, request.key) is not None,
    )
    ref = lookup(ctx.store, request.key)
    if ref is None:
        raise RunFailedError(
            f"Stage {request.stage} ended as a Ray job without recording a result for action {request.key[:12]}; "
            f"its log is in the Ray dashboard at {address}."
        )
    return ref
