"""An S3 server: Ceph's RADOS gateway over one monitor and one object daemon, all on loopback, data in one file.

A production server, so that conditional writes, wrong secrets and multipart uploads behave as they will elsewhere.
"""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import Any

from infra.local.plan import BUCKET, MLFLOW_BUCKET, REGION, Plan, write_private
from infra.local.roles import ROLES, bucket_policy
from infra.local.supervisor import Supervisor, answers

# The object daemon's file; sparse, so that it takes what is written to it.
DATA_BYTES = 20 << 30

_CONFIG = """\
[global]
fsid = {fsid}
mon initial members = a
mon host = [v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv4 = true
log to file = false
log to stderr = true
err to stderr = true
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/run/$name.pid
# One daemon holds the only copy.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 8
osd pool default pgp num = 8
osd crush chooseleaf type = 0
osd crush update on start = false
mon allow pool size one = true
mon warn on pool no redundancy = false
mon pg warn min per osd = 0
mon max pg per osd = 2000
# A disk that is nearly full for a data centre has room enough here.
mon data avail warn = 1
mon data avail crit = 1
auth allow insecure global id reclaim = false
[mon.a]
mon data = {folder}/mon
[osd]
osd data = {folder}/osd
osd objectstore = bluestore
bluestore block size = {bytes}
bluestore fsck on mount = false
osd memory target = 1073741824
[client.rgw]
keyring = {folder}/keyring
rgw data = {folder}/rgw
# Without tcp_nodelay small reads take 40 ms each.
rgw frontends = beast endpoint=127.0.0.1:{s3} tcp_nodelay=1
rgw dns name = localhost
rgw enable usage log = false
rgw enable ops log = false
"""


def start_s3(supervisor: Supervisor, plan: Plan) -> dict[str, dict[str, str]]:
    """Start the three daemons; returns the credentials of the users `lsr` and `mlflow`, each owner of a bucket, and of
    one user for each role of infra/iam.

    Order matters, also for stopping: monitor, object daemon, gateway.
    """
    folder = plan.folder / "ceph"
    keys = folder / "users.json"
    fresh = not keys.exists()
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
        _create_monitor(supervisor, plan, folder)
    config = ["-c", str(folder / "ceph.conf")]
    admin = [*config, "--keyring", str(folder / "keyring")]

    monitor = supervisor.start("ceph-mon", ["ceph-mon", "-f", "-i", "a", *admin])
    supervisor.wait(monitor, lambda: (folder / "run" / "mon.a.asok").exists())
    if fresh:
        _create_storage(supervisor, folder, admin)
    storage = supervisor.start("ceph-osd", ["ceph-osd", "-f", "-i", "0", *config], stop_seconds=60)
    if fresh:
        place = ["osd", "crush", "add", "osd.0", "1.0", "root=default", "host=localhost"]
        supervisor.run("ceph-osd", ["ceph", *admin, *place])
    supervisor.wait(storage, lambda: _is_up(supervisor, admin))
    gateway = supervisor.start("radosgw", ["radosgw", "-f", "-n", "client.rgw", *config])
    supervisor.wait(gateway, lambda: answers(plan.url("s3")))
    if fresh:
        users = {name: _create_user(supervisor, admin, name) for name in ("lsr", "mlflow", *ROLES)}
        _create_bucket(plan, users["lsr"], BUCKET, bucket_policy())
        _create_bucket(plan, users["mlflow"], MLFLOW_BUCKET)
        write_private(keys, json.dumps(users))
    credentials: dict[str, dict[str, str]] = json.loads(keys.read_text())
    return credentials


def s3_environment(plan: Plan, credentials: dict[str, str]) -> dict[str, str]:
    """The variables that boto3 and Arrow read."""
    return {
        "AWS_ENDPOINT_URL": plan.url("s3"),
        "AWS_ACCESS_KEY_ID": credentials["access_key"],
        "AWS_SECRET_ACCESS_KEY": credentials["secret_key"],
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _create_monitor(supervisor: Supervisor, plan: Plan, folder: Path) -> None:
    for name in ("mon", "osd", "rgw", "run"):
        (folder / name).mkdir(parents=True)
    folder.chmod(0o700)
    fsid = str(uuid.uuid4())
    v2, v1 = plan.port("ceph-mon"), plan.port("ceph-mon-v1")
    config = folder / "ceph.conf"
    config.write_text(_CONFIG.format(fsid=fsid, v2=v2, v1=v1, s3=plan.port("s3"), folder=folder, bytes=DATA_BYTES))
    keyring, monitors = str(folder / "keyring"), str(folder / "monmap")

    def run(*command: str) -> None:
        supervisor.run("ceph-mon", command)

    everything = ("--cap", "mon", "allow *", "--cap", "osd", "allow *")
    run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "client.admin", *everything)
    run("ceph-authtool", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    run(
        "ceph-authtool",
        keyring,
        "--gen-key",
        "-n",
        "client.rgw",
        "--cap",
        "mon",
        "allow rw",
        "--cap",
        "osd",
        "allow rwx",
    )
    run("monmaptool", "--create", "--fsid", fsid, "--addv", "a", f"[v2:127.0.0.1:{v2},v1:127.0.0.1:{v1}]", monitors)
    run("ceph-mon", "-c", str(config), "--mkfs", "-i", "a", "--monmap", monitors, "--keyring", keyring)


def _create_storage(supervisor: Supervisor, folder: Path, admin: list[str]) -> None:
    identity = str(uuid.uuid4())
    number = supervisor.run("ceph-osd", ["ceph", *admin, "osd", "new", identity]).strip()
    assert number == "0", f"the first object daemon of a new cluster must be 0, found {number}"
    rights = ["mon", "allow profile osd", "mgr", "allow profile osd", "osd", "allow *"]
    keyring = str(folder / "osd" / "keyring")
    supervisor.run("ceph-osd", ["ceph", *admin, "auth", "get-or-create", "osd.0", *rights, "-o", keyring])
    make = ["-c", str(folder / "ceph.conf"), "-i", "0", "--mkfs", "--osd-uuid", identity]
    supervisor.run("ceph-osd", ["ceph-osd", *make])


def _is_up(supervisor: Supervisor, admin: list[str]) -> bool:
    state: dict[str, Any] = json.loads(supervisor.run("ceph-osd", ["ceph", *admin, "osd", "stat", "-f", "json"]))
    return int(state["num_up_osds"]) == 1


def _create_user(supervisor: Supervisor, admin: list[str], name: str) -> dict[str, str]:
    """A user with keys of the server's own making, which therefore appear in no process's arguments."""
    command = ["radosgw-admin", *admin, "user", "create", "--uid", name, "--display-name", name]
    (pair,) = json.loads(supervisor.run("radosgw", command))["keys"]
    return {"access_key": pair["access_key"], "secret_key": pair["secret_key"]}


def _create_bucket(plan: Plan, credentials: dict[str, str], bucket: str, policy: str | None = None) -> None:
    import boto3

    client = boto3.client(
        "s3",
        endpoint_url=plan.url("s3"),
        aws_access_key_id=credentials["access_key"],
        aws_secret_access_key=credentials["secret_key"],
        region_name=REGION,
    )
    client.create_bucket(Bucket=bucket)
    if policy is not None:
        client.put_bucket_policy(Bucket=bucket, Policy=policy)
