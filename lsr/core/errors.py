"""Typed errors. Every message is a sentence that names the thing, the rule, the value found and the way out.

The command line prints the message without a traceback and exits with `exit_code`.
"""

from __future__ import annotations


class LsrError(Exception):
    """Base of every error that a user, an input or the surroundings can cause."""

    exit_code = 1


class ConfigError(LsrError):
    """A recipe, an option or a setting breaks a rule; raised before any work starts, all faults at once."""

    exit_code = 2


class InputError(LsrError):
    """The given data cannot be used: an empty folder, no readable image, a scale of zero."""

    exit_code = 3


class NotFoundError(LsrError):
    """A named thing does not exist: a store key, a model version, an alias, a named data set."""

    exit_code = 4


class StoreError(LsrError):
    """The object store cannot be reached, rejects the credentials or cannot be written."""

    exit_code = 5


class ConflictError(LsrError):
    """A conditional write lost: the key exists with other content, or changed since it was read."""

    exit_code = 6


class IntegrityError(LsrError):
    """Bytes do not match their digest, or a manifest contradicts itself."""

    exit_code = 7


class VersionMismatchError(LsrError):
    """A manifest, a model version or a server speaks a format version that this code does not."""

    exit_code = 8


class GateRejectedError(LsrError):
    """The promotion gate said FAIL or INCONCLUSIVE and the command asked for a promotion."""

    exit_code = 9


class RunFailedError(LsrError):
    """A training or cluster run ended without a result; the message carries the first cause."""

    exit_code = 10


class LeaseLostError(RunFailedError):
    """Another writer holds a newer fencing number for this run; this writer must stop."""


class TrainingStoppedError(RunFailedError):
    """A stop was asked for; the run saved a checkpoint and resumes from it when the same command is run again."""

    # EX_TEMPFAIL of sysexits.h: try again.
    exit_code = 75
