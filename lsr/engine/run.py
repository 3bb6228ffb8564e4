"""`python -m lsr.engine.run REQUEST_URI`: the entry of Ray jobs; the function that flows and the command line call too.

REQUEST_URI names a request written by the launcher: `s3://bucket/prefix/runs/<key>/request.json`.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace

from lsr.cluster.jobs import SUBMISSION
from lsr.core.config import from_plain
from lsr.core.errors import LsrError
from lsr.core.progress import RichProgress
from lsr.core.refs import Ref
from lsr.core.settings import load_settings
from lsr.engine.context import PIPELINE_NAME, PROVENANCE, open_context
from lsr.engine.launch import make_here
from lsr.engine.request import Request
from lsr.engine.reuse import reusable
from lsr.recipes.run import Run
from lsr.store import open_store


def run(uri: str) -> Ref:
    """Make (or find) the result of the request at `uri`."""
    root, _, tail = uri.rpartition("/runs/")
    settings = replace(load_settings(), store=root, ray_jobs=None)
    request = Request.from_bytes(open_store(root).read(f"runs/{tail}"))
    provenance = json.loads(os.environ.get(PROVENANCE) or "{}")
    if submission := os.environ.get(SUBMISSION):
        provenance["ray_submission"] = submission
    pipeline, run_config = os.environ.get(PIPELINE_NAME) or "stages", from_plain(Run, request.run)
    with open_context(settings, run_config, pipeline=pipeline, progress=RichProgress(), provenance=provenance) as ctx:
        return reusable(ctx.store, request.key) or make_here(request, ctx)


def main() -> int:
    """Command-line entry: prints the reference, or one sentence and the error's exit code."""
    if len(sys.argv) != 2:
        print("usage: python -m lsr.engine.run REQUEST_URI", file=sys.stderr)
        return 2
    try:
        ref = run(sys.argv[1])
    except LsrError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{ref.kind} {ref.digest} {ref.path}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
