"""The roles of `infra/iam` as users of one S3 server: the same policies, given by a policy of the bucket."""

from __future__ import annotations

import json
from pathlib import Path

ROLES = ("reader", "trainer", "promoter")
IAM = Path(__file__).resolve().parent.parent / "iam"


def bucket_policy() -> str:
    """The statements of every role, each for the user of that name."""
    statements = []
    for role in ROLES:
        for statement in json.loads((IAM / f"{role}.json").read_text())["Statement"]:
            user = {"AWS": [f"arn:aws:iam:::user/{role}"]}
            statements.append({**statement, "Sid": f"{role}{statement['Sid']}", "Principal": user})
    return json.dumps({"Version": "2012-10-17", "Statement": statements})
