"""The top folders of a store: what lies in each, and what the roles of `infra/iam` may do there.

Code that adds a folder adds a line here. The policies are tested against this table, garbage collection walks it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Folder:
    """holds: what lies in it. roots: root records and nothing else. collected: objects in it can become garbage.
    jobs_write, jobs_delete: rights of Ray jobs. A job deletes only what it alone made and nobody else relies on.
    """

    holds: str
    roots: bool = False
    collected: bool = False
    jobs_write: bool = True
    jobs_delete: bool = False


FOLDERS = {
    "actions/": Folder("by action key: which result a stage with these inputs has"),
    "blobs/": Folder("content by its sha256: shards, weights, rows", collected=True),
    "datasets/": Folder("root records of images, tiles, latents, outputs", roots=True, collected=True),
    "doctor/": Folder("a trial object of `lsr doctor`", collected=True, jobs_delete=True),
    "evaluations/": Folder("root records of evaluations", roots=True, collected=True),
    "measurements/": Folder("root records of one system's measurements", roots=True, collected=True),
    "models/": Folder("root records of trained models", roots=True, collected=True),
    "parts/": Folder("finished parts of an unfinished map over shards", collected=True),
    "progress/": Folder("live progress of workers", collected=True, jobs_delete=True),
    "promotions/": Folder("the promotion log", jobs_write=False),
    "ray/": Folder("Ray Train's own files", jobs_delete=True),
    "runs/": Folder("by action key: lease, attempts, request, checkpoints", collected=True, jobs_delete=True),
    "snapshots/": Folder("pinned listings of sources", collected=True),
    "takedowns/": Folder("records of `lsr data forget`", jobs_write=False),
    "trajectories/": Folder("which trainings differ in their duration alone"),
    "verdicts/": Folder("verdicts of the gate", collected=True),
}
