"""The policies of infra/iam mean what their table says, on a server that evaluates them."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from infra.local.plan import BUCKET, REGION
from infra.local.roles import ROLES
from lsr.store.layout import FOLDERS

from .conftest import Services

pytestmark = pytest.mark.services


def client(services: Services, name: str) -> Any:
    """An S3 client of one of the server's users."""
    keys = json.loads((services.folder / "ceph" / "users.json").read_text())[name]
    return boto3.session.Session().client(
        "s3",
        endpoint_url=services.env["AWS_ENDPOINT_URL"],
        aws_access_key_id=keys["access_key"],
        aws_secret_access_key=keys["secret_key"],
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
    """A client of each role, and objects that they may try to change."""
    for key in ("promotions/m/000001.json", "blobs/a.tar", "runs/k/checkpoint/b.safetensors"):
        client(services, "lsr").put_object(Bucket=BUCKET, Key=f"store/{key}", Body=b"1")
    return {role: client(services, role) for role in ROLES}


WRITES = {
    **{f"{name}new": {"trainer", "promoter"} if folder.jobs_write else set() for name, folder in FOLDERS.items()},
    "promotions/m/000002.json": {"promoter"},
    "promotions/new": {"promoter"},
    "elsewhere/x": set(),
}
DELETES = {
    "promotions/m/000001.json": set(),
    "blobs/a.tar": set(),
    "runs/k/checkpoint/b.safetensors": {"trainer", "promoter"},
}


@pytest.mark.parametrize("role", ROLES)
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
