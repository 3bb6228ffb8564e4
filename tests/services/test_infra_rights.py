"""The policies of infra/iam mean what their table says, on a server that evaluates them."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local.plan import BUCKET, REGION

from .conftest import PROJECT, Services

pytestmark = pytest.mark.services

IAM = PROJECT / "infra" / "iam"


def new_user(services: Services, name: str) -> Any:
    """An S3 client of a new user who owns nothing."""
    ceph = services.folder / "ceph"
    admin = ["radosgw-admin", "-c", str(ceph / "ceph.conf"), "--keyring", str(ceph / "keyring")]
    made = subprocess.run(
        [*admin, "user", "create", "--uid", name, "--display-name", name], capture_output=True, check=True
    )
    (keys,) = json.loads(made.stdout)["keys"]
    return client(services, keys["access_key"], keys["secret_key"])


def client(services: Services, access_key: str, secret_key: str) -> Any:
    return boto3.session.Session().client(
        "s3",
        endpoint_url=services.env["AWS_ENDPOINT_URL"],
        aws_access_key_id=access_key,
        aws_secret_access_key=secret_key,
        region_name=REGION,
    )


def allowed(call: Any, **arguments: Any) -> bool:
    try:
        call(Bucket=BUCKET, **arguments)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 403:
            raise
        return False
    return True


@pytest.fixture(scope="module")
def users(services: Services) -> dict[str, Any]:
    """One user for each role, given the role's statements by a policy of the bucket."""
    roles = ("reader", "trainer", "promoter")
    found = {role: new_user(services, role) for role in roles}
    statements = []
    for role in roles:
        for statement in json.loads((IAM / f"{role}.json").read_text())["Statement"]:
            principal = {"AWS": [f"arn:aws:iam:::user/{role}"]}
            statements.append({**statement, "Sid": f"{role}{statement['Sid']}", "Principal": principal})
    owner = client(services, services.env["AWS_ACCESS_KEY_ID"], services.env["AWS_SECRET_ACCESS_KEY"])
    owner.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
    for key in ("promotions/m/000001.json", "blobs/a.tar", "runs/k/checkpoint/b.safetensors"):
        owner.put_object(Bucket=BUCKET, Key=f"store/{key}", Body=b"1")
    return found


WRITES = {
    "blobs/new.tar": {"trainer", "promoter"},
    "actions/new.json": {"trainer", "promoter"},
    "datasets/n/new.json": {"trainer", "promoter"},
    "runs/k/attempt-1.json": {"trainer", "promoter"},
    "promotions/m/000002.json": {"promoter"},
    "elsewhere/x": set(),
}
DELETES = {
    "promotions/m/000001.json": set(),
    "blobs/a.tar": set(),
    "runs/k/checkpoint/b.safetensors": {"trainer", "promoter"},
}


@pytest.mark.parametrize("role", ["reader", "trainer", "promoter"])
def test_a_role_has_the_rights_of_its_row_and_no_others(users: dict[str, Any], role: str) -> None:
    s3 = users[role]
    assert allowed(s3.list_objects_v2, Prefix="store/")
    assert allowed(s3.get_object, Key="store/promotions/m/000001.json")
    assert {key for key in WRITES if allowed(s3.put_object, Key=f"store/{key}", Body=b"1")} == {
        key for key, roles in WRITES.items() if role in roles
    }
    assert {key for key in DELETES if allowed(s3.delete_object, Key=f"store/{key}")} == {
        key for key, roles in DELETES.items() if role in roles
    }
