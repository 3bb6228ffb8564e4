"""Every stage of the pipeline on nodes with GPUs, as the runs `one-gpu` and `cluster` ask for them.

Ray is told of GPUs that are not there. What the runs reserve, who waits for what and where each process runs is real;
a worker trains on the CPU, over gloo.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lsr.cluster import train
from lsr.cluster.capacity import wait_for_room
from lsr.cluster.job_client import ray_client
from lsr.cluster.session import current, ray_session
from lsr.core.refs import Ref
from lsr.core.resources import Resources
from lsr.core.settings import Settings
from lsr.engine.context import Context, open_context
from lsr.engine.table import PIPELINE
from lsr.recipes import load_recipe
from lsr.recipes.run import load_run
from lsr.recipes.schema import Recipe
from lsr.stages import training, worker
from lsr.stages.gate import gate
from lsr.stages.infer import infer
from lsr.stages.register import register
from tests.stages.kit import made_by_every_stage

# By hand: both take minutes on an idle machine, and the second has not passed yet.
pytestmark = [pytest.mark.soak, pytest.mark.timeout(1500)]
GROUPS: list[tuple[int, Resources]] = []
PROJECT = Path(__file__).resolve().parents[2]

# Run by every Python process of a node: the two functions that choose a device are replaced when they are imported.
ON_THE_CPU = """
import importlib.util, sys

class AfterImport:
    def find_spec(self, name, path=None, target=None):
        if name != "lsr.cluster.train":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            module.group_backend = lambda gpus: "gloo"
            module.worker_device = lambda gpus: __import__("torch").device("cpu")

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, AfterImport())
"""


@pytest.fixture
def nodes_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """LSR_HOME of the nodes' processes, which start with this environment; another than the client's."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(ON_THE_CPU)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "site"), str(PROJECT)]))
    # A job's command names `python` alone, as in an image.
    monkeypatch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "node"))
    monkeypatch.setattr(train, "group_backend", lambda gpus: "gloo")
    return tmp_path / "node"


def settings(tmp_path: Path, ray_jobs: str | None = None) -> Settings:
    home = tmp_path / "client"
    return Settings(
        home=home, store=f"file://{tmp_path}/store", mlflow=f"sqlite:///{home}/mlflow.db", ray_jobs=ray_jobs
    )


def tiny() -> Recipe:
    """Few images: as many as eight workers need for a batch."""
    stages = ("autoencoder", "decoder", "denoise", "joint")
    return load_recipe("short", {f"{stage}.train.images": "32" for stage in stages})


def whole_pipeline(recipe: Recipe, ctx: Context) -> dict[str, Ref]:
    """Every stage, then *register*, *gate* and *infer*."""
    refs = made_by_every_stage(recipe, ctx)
    version = register(recipe, refs, ctx)
    judged = gate(recipe, refs, ctx, version=version.number)
    assert judged.decision == "PASS", judged.text
    done = infer(recipe, ctx)
    assert done.counts["samples"] == done.counts["inputs"] > 0
    return refs


@contextmanager
def head_without_cpus() -> Iterator[tuple[str, str]]:
    """Nodes as infra/kuberay has them: a head that holds no work and a node with one GPU. Yields the address of the
    job server and the id of the node that works.
    """
    from ray.cluster_utils import Cluster

    # Sockets are made below it, whose names are limited.
    temp = tempfile.mkdtemp(prefix="lsr-t-", dir="/tmp")
    head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": True, "dashboard_port": 0, "temp_dir": temp}
    cluster = Cluster()
    try:
        started(cluster, head)
        node = started(cluster, {"num_cpus": 12, "num_gpus": 1})
        yield f"http://{cluster.webui_url}", node
    finally:
        cluster.shutdown()
        shutil.rmtree(temp, ignore_errors=True)


def started(cluster: Any, options: dict[str, Any]) -> str:
    """The id of a node that was added; tried again, because a busy machine can miss the 30 s that Ray gives it."""
    for left in reversed(range(4)):
        try:
            return str(cluster.add_node(**options).node_id)
        except Exception:
            if not left:
                raise
            # A head that half started is no head of the next try.
            cluster.head_node = cluster.head_node if "include_dashboard" not in options else None
    raise AssertionError


def in_this_process(work: train.Worker, config: dict[str, Any], **words: Any) -> dict[str, Any]:
    """`fit`, whose group is reserved as Ray Train reserves it, while one process does its work: eight processes that
    import torch take minutes of two cores.
    """
    from ray.util.placement_group import placement_group, remove_placement_group

    needs, workers, session = words.pop("needs"), words.pop("workers"), current()
    assert session is not None
    wait_for_room(session, needs, workers, within=words["start_within"], what=words["name"])
    group = placement_group([needs.as_ray()] * workers)
    assert group.wait(60)
    GROUPS.append((workers, needs))
    try:
        return train.fit(work, config, workers=0, **words)
    finally:
        remove_placement_group(group)


def test_the_run_cluster_on_a_node_with_eight_gpus(
    nodes_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eight workers with a GPU each are one group; 32 tasks, and 8 encoders, become as many as the node holds."""
    monkeypatch.setattr(training, "fit", in_this_process)
    monkeypatch.setattr(worker, "worker_device", lambda gpus: torch.device("cpu"))
    GROUPS.clear()
    with ray_session(tmp_path, cpus=40, gpus=8), open_context(settings(tmp_path), load_run("cluster")) as ctx:
        whole_pipeline(tiny(), ctx)
    assert [(8, Resources(cpus=4, gpus=1))] * 4 == GROUPS
    assert not nodes_home.exists(), "workers on this machine share its cache"


def test_the_run_one_gpu_through_jobs_on_a_cluster_whose_head_has_no_cpu(nodes_home: Path, tmp_path: Path) -> None:
    """*evaluate*'s job takes the GPU itself; the jobs of the others leave it to their workers."""
    with head_without_cpus() as (address, node):
        with open_context(settings(tmp_path, ray_jobs=address), load_run("one-gpu")) as ctx:
            whole_pipeline(tiny(), ctx)
        jobs = ray_client(address).list_jobs()
    assert sorted(job.submission_id.split("-")[0] for job in jobs) == sorted([*PIPELINE, "shard", "infer"])
    assert {job.driver_node_id for job in jobs} == {node}, "no job's own process ran on the head"
    assert (nodes_home / "cache").exists(), "workers of a cluster use their own cache"
    assert not list((tmp_path / "client").rglob("versions/*")), "and not that of the client"
