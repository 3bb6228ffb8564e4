"""The whole short line as a user runs it: made, reused, partly redone, killed and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from lsr.core.errors import NotFoundError

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
LSR = [sys.executable, "-c", "from lsr.cli import main; main()"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("line") / "home"


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
            [*LSR, "retrain", "--recipe", "short", "--json"],
            env=environment(home),
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + 600
    while not list((home / "store" / "runs").glob("*/checkpoint.json")) and time.monotonic() < deadline:
        assert process.poll() is None, f"the line ended before its first checkpoint:\n{said.read_text()[-3000:]}"
        time.sleep(0.2)
    process.send_signal(signal.SIGKILL)
    process.wait()
    report = run(home, "retrain", "--recipe", "short")
    assert report["verdict"]["decision"] == "PASS"
    assert report["version"]["version"] == 1
    assert report["inference"]["counts"]["failed"] == 0
    assert report["inference"]["counts"]["inputs"] == report["inference"]["counts"]["samples"] > 0
    assert {"shard", "tile"} <= set(stages(report, made=False))
    assert {row["system"] for row in report["metrics"]} == {"bicubic", "ours"}
    assert all(Path(picture).is_file() for picture in report["pictures"])
    page = Path(report["page"]["path"]).read_bytes()
    assert page.startswith(b"<!doctype html>")
    kept = Path(report["page"]["link"].removeprefix("file://"))
    assert (kept.name, kept.read_bytes()) == ("report.html", page)


def test_run_again_nothing_is_made(home: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (home / "store").rglob("*") if path.is_file()}
    report = run(home, "retrain", "--recipe", "short")
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
    report = run(home, "retrain", "--recipe", "short", "--set", "joint.loss.image_weight=0.0")
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
    report = run(home, "joint", "--recipe", "short", "--set", "joint.train.objective=their_losses:Louder")
    assert report["made"] is True
    manifest = json.loads((home / "store" / report["path"]).read_text())
    assert manifest["metrics"]["louder"] == pytest.approx(manifest["metrics"]["loss"])


def test_a_deleted_tracking_database_recomputes_no_weight(home: Path) -> None:
    for path in home.glob("mlflow.db*"):
        path.unlink()
    report = run(home, "tile", "--recipe", "short")
    assert report["made"] is False
    assert run(home, "joint", "--recipe", "short")["made"] is False
    again = [*LSR, "retrain", "--recipe", "short", "--json"]
    done = subprocess.run(again, env=environment(home), capture_output=True, text=True, timeout=900)
    assert done.returncode == NotFoundError.exit_code
    assert "lsr models retire lsr-short" in done.stderr.splitlines()[-1]
    run(home, "models", "retire", "lsr-short", "--reason", "the registry is lost")
    report = run(home, "retrain", "--recipe", "short")
    assert (report["version"]["version"], report["verdict"]["alias"]) == (1, "champion")
    assert stages(report, made=True) == ["gate"]


def test_a_picture_of_any_size_is_upscaled(home: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.linear_gradient("L").resize((23, 17)).convert("RGB").save(tmp_path / "a.png")
    run_again = run(home, "retrain", "--recipe", "short")
    assert run_again["version"] is not None
    words = ["upscale", str(tmp_path / "a.png"), "--scale", "3.7", "-o", str(tmp_path / "o.png"), "--steps", "2"]
    report = run(home, *words, "--model", f"{run_again['version']['name']}/{run_again['version']['version']}")
    with Image.open(tmp_path / "o.png") as image:
        assert image.size == (round(23 * 3.7), round(17 * 3.7))
    assert report["digest"] == run_again["version"]["digest"]
