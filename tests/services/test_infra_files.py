"""Compose, image, Kubernetes and policy files: well formed, closed by default, without a secret. Needs no server."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml

from lsr.core.resources import Resources
from lsr.engine.table import PIPELINE, stage_named
from lsr.recipes.run import load_run
from lsr.store.layout import FOLDERS
from lsr.store.roots import MODELS, PLACES

from .conftest import require

INFRA = Path(__file__).resolve().parents[2] / "infra"
COMPOSE: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
SERVERS = {"s3", "postgres", "mlflow", "prefect", "prefect-worker", "ray"}


def variables() -> set[str]:
    """The variables that compose.yaml takes from .env."""
    return set(re.findall(r"\$\{(\w+)", (INFRA / "compose.yaml").read_text()))


def test_compose_has_the_parts_of_the_services_profile() -> None:
    assert set(SERVICES) >= SERVERS | {"mlflow-upgrade", "s3-setup"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_has_no_rights_that_it_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert not service.get("privileged")
    # One short-lived container changes the owner of a new volume, with that right alone and no network.
    if name == "s3-volume":
        assert service["cap_add"] == ["CHOWN"]
        assert service["network_mode"] == "none"
    else:
        assert "cap_add" not in service
        assert service["user"] not in ("0", "root", "0:0")
        assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_on_loopback_only(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_pinned(name: str) -> None:
    image = SERVICES[name]["image"]
    assert ":" in image
    assert not image.endswith(":latest")


@pytest.mark.parametrize("name", sorted(SERVERS - {"prefect-worker"}))
def test_servers_say_when_they_are_ready(name: str) -> None:
    assert SERVICES[name]["healthcheck"]["test"][0] == "CMD"


def test_mlflow_waits_for_its_database_to_be_upgraded() -> None:
    waited = SERVICES["mlflow"]["depends_on"]["mlflow-upgrade"]
    assert waited == {"condition": "service_completed_successfully"}


def test_secrets_come_from_the_env_file_and_it_lists_them_all() -> None:
    example = (INFRA / "compose" / "env.example").read_text()
    listed = {line.partition("=")[0] for line in example.splitlines() if line and not line.startswith("#")}
    assert listed == variables()
    assert not re.search(r"=\S", example), "the example holds no value"
    for name, service in SERVICES.items():
        for key, value in service.get("environment", {}).items():
            if re.search("SECRET|PASSWORD|TOKEN|AUTH_STRING|MC_HOST", key):
                assert "${" in value, f"{name}: {key}"


def test_jobs_on_ray_cannot_promote() -> None:
    assert SERVICES["ray"]["environment"]["AWS_ACCESS_KEY_ID"] == "trainer"
    assert "PREFECT_API_AUTH_STRING" not in SERVICES["ray"]["environment"]


def test_compose_itself_accepts_the_file(tmp_path: Path) -> None:
    require("docker-compose")
    env = tmp_path / "env"
    env.write_text("".join(f"{name}=x\n" for name in variables()))
    command = ["docker-compose", "--env-file", str(env), "-f", str(INFRA / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_image_runs_as_nobody_in_particular_and_takes_no_secret() -> None:
    text = (INFRA / "Dockerfile").read_text()
    users = re.findall(r"^USER (\S+)", text, re.MULTILINE)
    assert users == ["10001:10001"]
    assert "COPY . " not in text
    ignore = (INFRA / "Dockerfile.dockerignore").read_text().splitlines()
    assert "*" in ignore, "everything is left out that is not named"
    copied = set(re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE))
    assert {f"!{name}" for line in copied for name in line.split()} <= set(ignore)


def _pods(job: dict[str, Any]) -> list[dict[str, Any]]:
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    return [job["spec"]["submitterPodTemplate"]["spec"], *(group["template"]["spec"] for group in groups)]


def test_the_ray_job_asks_for_a_token_ends_and_runs_unprivileged() -> None:
    job = yaml.safe_load((INFRA / "kuberay" / "rayjob.yaml").read_text())
    spec = job["spec"]
    assert spec["entrypoint"].startswith("python -m lsr.engine.run s3://")
    assert spec["rayClusterSpec"]["authOptions"] == {"mode": "token"}
    assert spec["rayClusterSpec"]["rayVersion"] == ray.__version__
    assert spec["shutdownAfterJobFinishes"] is True
    assert spec["ttlSecondsAfterFinished"] > 0
    assert spec["activeDeadlineSeconds"] > 0
    for pod in _pods(job):
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["automountServiceAccountToken"] is False
        for container in pod["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}
            assert not any("SECRET" in each["name"] for each in container.get("env", []))


def _nodes(job: dict[str, Any]) -> list[dict[str, float]]:
    """What Ray finds on each worker node, by its own names."""
    nodes: list[dict[str, float]] = []
    for group in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]:
        (container,) = group["template"]["spec"]["containers"]
        limits = container["resources"]["limits"]
        node = {"CPU": float(limits["cpu"]), "GPU": float(limits.get("nvidia.com/gpu", 0))}
        node["memory"] = float(limits["memory"].removesuffix("Gi")) * 2**30
        nodes += [dict(node) for _ in range(group["replicas"])]
    return nodes


def _place(nodes: list[dict[str, float]], asked: Resources) -> bool:
    """Take what one process needs from the first node that has it."""
    for node in nodes:
        if all(node[kind] >= amount for kind, amount in asked.as_ray().items()):
            for kind, amount in asked.as_ray().items():
                node[kind] -= amount
            return True
    return False


@pytest.mark.parametrize("stage", [*PIPELINE, "infer"])
def test_the_nodes_of_the_ray_job_hold_every_stage_of_the_run_cluster(stage: str) -> None:
    """The driver first, on a worker node: the head has no CPU. Then the whole group, or one process of a map."""
    job, run = yaml.safe_load((INFRA / "kuberay" / "rayjob.yaml").read_text()), load_run("cluster")
    assert job["spec"]["rayClusterSpec"]["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert job["spec"]["entrypointNumCpus"] == Resources().cpus > 0
    nodes = _nodes(job)
    assert stage_named(stage).resources(run).cpus > 0, "without a reservation it would run on the head"
    assert _place(nodes, stage_named(stage).resources(run))
    if stage in ("shard", "tile", "latents", "infer"):
        assert _place(nodes, getattr(run, stage).worker)
    elif stage != "evaluate":
        assert all(_place(nodes, run.train.worker) for _ in range(run.train.workers))


@pytest.mark.parametrize("path", sorted((INFRA / "iam").glob("*.json")), ids=lambda path: path.stem)
def test_a_policy_names_its_actions_and_never_deletes_what_others_rely_on(path: Path) -> None:
    for statement in json.loads(path.read_text())["Statement"]:
        assert not any("*" in action for action in statement["Action"])
        assert "*" not in statement["Resource"]
        if statement["Effect"] == "Allow" and "s3:DeleteObject" in statement["Action"]:
            kept = re.compile(r"store/(blobs|datasets|actions|models|promotions)/|store/\*|arn:aws:s3:::lsr/\*")
            assert not any(kept.search(resource) for resource in statement["Resource"])


@pytest.mark.parametrize("role", ["trainer", "promoter"])
def test_a_policy_allows_writes_and_deletes_in_the_folders_of_the_layout(role: str) -> None:
    allowed: dict[str, set[str]] = {}
    for statement in json.loads((INFRA / "iam" / f"{role}.json").read_text())["Statement"]:
        if statement["Effect"] == "Allow":
            for action in statement["Action"]:
                allowed.setdefault(action, set()).update(statement["Resource"])
    store = "arn:aws:s3:::lsr/store/"
    written = {f"{store}{name}*" for name, folder in FOLDERS.items() if folder.jobs_write}
    own = {f"{store}promotions/*"} if role == "promoter" else {store}
    assert allowed["s3:PutObject"] == written | own
    assert allowed["s3:DeleteObject"] == {f"{store}{name}*" for name, folder in FOLDERS.items() if folder.jobs_delete}


def test_root_records_lie_in_the_folders_of_the_layout_that_say_so() -> None:
    assert {f"{place}/" for place in (*PLACES.values(), MODELS)} == {n for n, folder in FOLDERS.items() if folder.roots}


@pytest.mark.parametrize("path", sorted(INFRA.rglob("*.sh")), ids=lambda path: path.name)
def test_shell_scripts_parse_and_stop_at_the_first_error(path: Path) -> None:
    assert subprocess.run(["sh", "-n", str(path)], check=False).returncode == 0
    assert "\nset -eu\n" in path.read_text()
