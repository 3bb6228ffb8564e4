"""Every stage of the line on nodes with GPUs, as the runs `one-gpu` and `cluster` ask for them.

Ray is told of GPUs that are not there. What the runs reserve, who waits for what and where each process runs is real;
a worker trains on the CPU, over gloo.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lsr.cluster import train
from lsr.cluster.session import ray_session
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.engine.context import Context, open_context
from lsr.engine.launch import launch
from lsr.engine.source import snapshot
from lsr.engine.table import PIPELINE, request_of
from lsr.recipes import load_recipe
from lsr.recipes.run import load_run
from lsr.recipes.schema import Recipe
from lsr.stages.gate import gate
from lsr.stages.infer import infer
from lsr.stages.register import register

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
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
    return load_recipe("short", {f"{stage}.train.images": "32" for stage in stages} | {"evaluate.photos": "1"})


def whole_line(recipe: Recipe, ctx: Context) -> dict[str, Ref]:
    """Every stage, then *register*, *gate* and *infer*."""
    refs = {"snapshot": snapshot(recipe.source, ctx)}
    for name, stage in PIPELINE.items():
        outcome = launch(request_of(stage, recipe, ctx.run, {key: refs[key] for key in stage.inputs}), ctx)
        assert outcome.made
        refs[name] = outcome.ref
    version = register(recipe, refs, ctx)
    judged = gate(recipe, refs, ctx, version=version.number)
    assert judged.decision == "PASS", judged.text
    done = infer(recipe, ctx)
    assert done.counts["samples"] == done.counts["inputs"] > 0
    return refs


def test_the_run_cluster_on_a_node_with_eight_gpus(nodes_home: Path, tmp_path: Path) -> None:
    """Eight workers train on a GPU each; 32 tasks, and 8 encoders, become as many as the node holds."""
    with ray_session(tmp_path, cpus=40, gpus=8), open_context(settings(tmp_path), load_run("cluster")) as ctx:
        whole_line(tiny(), ctx)
    assert not nodes_home.exists(), "workers on this machine share its cache"
