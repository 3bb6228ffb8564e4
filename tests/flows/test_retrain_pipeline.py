"""The short pipeline as the tutorial runs it on one's own photos: killed, resumed, reused, partly redone, used."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lsr.core.errors import NotFoundError
from lsr.store.layout import FOLDERS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
LSR = [sys.executable, "-c", "from lsr.cli import main; main()"]
ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "lsr" / "assets"
# The same commands with a recipe of a few steps.
TUTORIAL = (ROOT / "docs" / "tutorial.md").read_text().replace("--recipe demo", "--recipe short")
# The tests above retire the version without the image loss, and a rerun must not bring it back.
TUTORIAL = TUTORIAL.replace("image_weight=0.0", "image_weight=0.5")
BLOCKS = re.findall(r"^```sh\n(.*?)^```", TUTORIAL, re.MULTILINE | re.DOTALL)
RETRAIN = next(block for block in BLOCKS if block.startswith("lsr retrain"))
MODEL = "lsr-mine"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where everything is made; `photos` and `small` beside it are what the tutorial starts from."""
    folder = tmp_path_factory.mktemp("pipeline")
    shutil.copytree(ASSETS / "photos", folder / "photos")
    shutil.copytree(ASSETS / "thumbnails", folder / "small")
    return folder / "home"


def options(home: Path) -> list[str]:
    """The options of the tutorial's `lsr retrain`: the recipe and a source of one's own."""
    return shlex.split(RETRAIN.replace("$PWD", str(home.parent)).replace("\\\n", " "))[2:]


def environment(home: Path) -> dict[str, str]:
    return {**os.environ, "LSR_HOME": str(home), "PREFECT_HOME": str(home / "prefect")}


def run(home: Path, *words: str) -> Any:
    done = subprocess.run([*LSR, *words, "--json"], env=environment(home), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def stages(report: Any, *, made: bool) -> list[str]:
    return [stage["stage"] for stage in report["stages"] if stage["made"] is made]


def test_killed_and_started_again_it_ends(home: Path) -> None:
    said = home.parent / "said.txt"
    with open(said, "wb") as output:
        process = subprocess.Popen(
            [*LSR, "retrain", *options(home), "--json"],
            env=environment(home),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 600
    while not list((home / "store" / "runs").glob("*/checkpoint.json")) and time.monotonic() < deadline:
        assert process.poll() is None, f"the pipeline ended before its first checkpoint:\n{said.read_text()[-3000:]}"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = run(home, "retrain", *options(home))
    assert report["verdict"]["decision"] == "PASS"
    assert report["version"]["version"] == 1
    assert report["inference"]["counts"]["failed"] == 0
    assert report["inference"]["counts"]["inputs"] == report["inference"]["counts"]["samples"] > 0
    assert {f"{folder.name}/" for folder in (home / "store").iterdir() if folder.name[0] != "."} <= FOLDERS.keys()
    assert {"shard", "tile"} <= set(stages(report, made=False))
    assert {row["system"] for row in report["metrics"]} == {"bicubic", "ours"}
    assert all(Path(image).is_file() for image in report["images"])
    page = Path(report["page"]["path"]).read_bytes()
    assert page.startswith(b"<!doctype html>")
    kept = Path(report["page"]["link"].removeprefix("file://"))
    assert (kept.name, kept.read_bytes()) == ("report.html", page)


def test_run_again_nothing_is_made(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "store").rglob("*") if path.is_file()}
    report = run(home, "retrain", *options(home))
    assert stages(report, made=True) == []
    assert report["page"]["made"] is False
    after = {path: path.stat().st_mtime_ns for path in (home / "store").rglob("*") if path.is_file()}
    assert after == before


def test_two_worker_processes_trained(home: Path) -> None:
    import mlflow

    client = mlflow.MlflowClient(f"sqlite:///{home}/mlflow.db")
    experiment = client.get_experiment_by_name("lsr")
    runs = client.search_runs([experiment.experiment_id], "tags.`lsr.stage` = 'joint'")
    assert len(runs) == 1
    record = json.loads(Path(client.download_artifacts(runs[0].info.run_id, "run.json")).read_text())
    assert len({worker["pid"] for worker in record["workers"]}) == 2
    assert runs[0].info.status == "FINISHED"
    scales = json.loads(Path(client.download_artifacts(runs[0].info.run_id, "scales.json")).read_text())
    logged = {metric.step: metric.value for metric in client.get_metric_history(runs[0].info.run_id, "scale")}
    assert sum(scales["counts"]) == 20 >= len(logged) > 0
    edges = scales["edges"]
    assert all(edges[0] <= value <= edges[-1] for value in logged.values())
    assert len([c for c in scales["counts"] if c]) > 1, "scales are drawn, not fixed"
    steps = [metric.step for metric in client.get_metric_history(runs[0].info.run_id, "loss")]
    assert steps == sorted(set(steps))


def test_one_field_changes_what_depends_on_it(home: Path) -> None:
    report = run(home, "retrain", *options(home), "--set", "joint.loss.image_weight=0.0")
    made = stages(report, made=True)
    assert made[:2] == ["joint", "evaluate"]
    assert {"shard", "tile", "autoencoder", "decoder", "latents", "denoise"} <= set(stages(report, made=False))
    assert report["version"]["version"] == 2


OWN_LOSS = """
from lsr.training.own import Extended

class Louder(Extended):
    own_terms = ("louder",)

    def loss(self, batch, draws):
        loss, terms = self.standard.loss(batch, draws)
        return 2 * loss, {**terms, "louder": 2 * loss.detach()}
"""


def test_a_loss_from_outside_the_repository_trains_in_the_workers(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "their_losses.py").write_text(OWN_LOSS)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    report = run(home, "joint", *options(home), "--set", "joint.train.objective=their_losses:Louder")
    assert report["made"] is True
    metrics = json.loads((home / "store" / report["path"]).read_text())["extra"]["metrics"]
    assert metrics["louder"] == pytest.approx(metrics["loss"])


def test_a_deleted_tracking_database_recomputes_no_weight(home: Path) -> None:
    for path in home.glob("mlflow.db*"):
        path.unlink()
    report = run(home, "tile", *options(home))
    assert report["made"] is False
    assert run(home, "joint", *options(home))["made"] is False
    again = [*LSR, "retrain", *options(home), "--json"]
    done = subprocess.run(again, env=environment(home), capture_output=True, text=True, timeout=900)
    assert done.returncode == NotFoundError.exit_code
    assert f"lsr models retire {MODEL}" in done.stderr.splitlines()[-1]
    run(home, "models", "retire", MODEL, "--reason", "the registry is lost")
    report = run(home, "retrain", *options(home))
    assert (report["version"]["version"], report["verdict"]["alias"]) == (1, "champion")
    assert stages(report, made=True) == ["gate"]


def test_the_tutorial_ends_where_it_says(home: Path, tmp_path: Path) -> None:
    from PIL import Image

    command = tmp_path / "lsr"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(LSR)} "$@"\n')
    command.chmod(0o755)
    environ = {**environment(home), "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    # The first `lsr retrain` is what the test above ended with, option by option.
    script = "set -eu\n" + "\n".join(block for block in BLOCKS if block != RETRAIN)
    folder = home.parent
    done = subprocess.run(["bash", "-c", script], env=environ, cwd=folder, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    with Image.open(folder / "small" / "tulips.png") as small, Image.open(folder / "tulips-larger.png") as larger:
        assert larger.size == tuple(round(side * 3.7) for side in small.size)
    with Image.open(folder / "sheet.png") as sheet:
        assert sheet.width > 128
    log = run(home, "models", "log", MODEL)
    assert [record["action"] for record in log][-2:] == ["promote", "rollback"]
    champion, previous = log[-1]["version"], log[-2]["version"]
    assert champion != previous
