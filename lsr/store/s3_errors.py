"""What S3 and boto3 report, as typed errors with a way out.

Messages are made here from codes and names alone: the server's own text can hold access key ids, and URLs can hold
passwords.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from botocore import exceptions as boto

from lsr.core.errors import ConfigError, IntegrityError, LsrError, NotFoundError, StoreError

EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "InvalidToken"}
RACED = {"ConditionalRequestConflict", "OperationAborted"}

_UNKNOWN_IDENTITY = {
    "InvalidAccessKeyId": "it does not know the access key",
    "SignatureDoesNotMatch": "the secret key does not belong to the access key",
    "RequestTimeTooSkewed": "this machine's clock differs too much from the server's",
    **dict.fromkeys(EXPIRED, "the session token has expired"),
}
_FORBIDDEN = {"AccessDenied", "AllAccessDisabled", "AccountProblem", "Forbidden", "403"}
_NO_IDENTITY = (
    boto.NoCredentialsError,
    boto.PartialCredentialsError,
    boto.CredentialRetrievalError,
    boto.TokenRetrievalError,
    boto.SSOError,
    boto.ProfileNotFound,
)
_UNREACHABLE = (
    boto.HTTPClientError,
    boto.ConnectionError,
    boto.IncompleteReadError,
)


def code_of(error: Exception) -> str:
    """S3's error code (`NoSuchKey`), the HTTP status as text where a reply has no body, or "" for other errors."""
    return str(error.response.get("Error", {}).get("Code", "")) if isinstance(error, boto.ClientError) else ""


def safe_endpoint(url: str) -> str:
    """scheme://host:port of an endpoint, without user, password and query."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def explain(error: Exception, *, doing: str, where: str, endpoint: str, tries: int) -> LsrError:
    """The typed error for a boto3 error met while `doing` (a verb phrase) at `where` (store and key)."""
    failed = f"Cannot {doing} {where}"
    code = code_of(error)
    if code in {"NoSuchKey", "404"}:
        return NotFoundError(f"{failed}: there is no such object.")
    if code == "NoSuchBucket":
        return StoreError(f"{failed}: {endpoint} has no bucket of that name; create it, or fix the s3:// address.")
    if code in _UNKNOWN_IDENTITY:
        return StoreError(
            f"{failed}: {endpoint} rejects the credentials, {_UNKNOWN_IDENTITY[code]} ({code}); "
            "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN or the profile."
        )
    if code in _FORBIDDEN:
        return StoreError(
            f"{failed}: {endpoint} does not allow it with these credentials ({code}); "
            "grant the rights to read, write and list, or use other credentials."
        )
    if code:
        return StoreError(f"{failed}: {endpoint} answered {code} after at most {tries} tries; see the server's log.")
    return _explain_local(error, failed, endpoint, tries)


def _explain_local(error: Exception, failed: str, endpoint: str, tries: int) -> LsrError:
    name = type(error).__name__
    if isinstance(error, _NO_IDENTITY):
        return StoreError(
            f"{failed}: boto3 found no usable credentials ({name}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or AWS_PROFILE."
        )
    if isinstance(error, boto.FlexibleChecksumError):
        return IntegrityError(f"{failed}: the bytes received do not match the server's checksum, {tries} times.")
    if isinstance(error, _UNREACHABLE):
        return StoreError(
            f"{failed}: {endpoint} gave no complete answer in {tries} tries ({name}); "
            "check that the server runs and that AWS_ENDPOINT_URL is its address."
        )
    if isinstance(error, ValueError):
        return ConfigError(
            f"{failed}: boto3 does not accept its settings ({name}); check AWS_ENDPOINT_URL and AWS_REGION."
        )
    return StoreError(
        f"{failed}: boto3 gave up with {name}; check the AWS_* variables and the AWS configuration files."
    )
