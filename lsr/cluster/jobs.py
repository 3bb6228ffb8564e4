"""Commands on a Ray cluster, through its job server: submitted once, waited for, stopped for certain.

No single reply is trusted: a job is found again by its submission id after a lost answer, a restart of the caller or
an unreachable server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from lsr.cluster.faults import known_errors
from lsr.cluster.job_client import is_absent, is_passing, is_rejected, ray_client
from lsr.cluster.job_log import LogTail
from lsr.core.errors import ConfigError, LsrError, NotFoundError, RunFailedError, VersionMismatchError
from lsr.core.resources import Resources

T = TypeVar("T")
OnLog = Callable[[str], None]

# Tells a job its own submission id.
SUBMISSION = "LSR_RAY_SUBMISSION"
_SECRET_WORDS = ("SECRET", "TOKEN", "PASSWORD", "CREDENTIAL")
_LAST_LINES = 8


@dataclass(frozen=True, slots=True)
class JobState:
    """What the cluster says of a job. status: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""

    submission_id: str
    status: str
    message: str = ""
    exit_code: int | None = None

    @property
    def ended(self) -> bool:
        return self.status in ("SUCCEEDED", "FAILED", "STOPPED")


class JobServer:
    """The job server at `address` (`http://host:8265`).

    patience: seconds for which an unreachable server is asked again. poll: seconds between two polls of a job.
    client: makes Ray's client (replaced in tests). Every method raises RunFailedError when the server stays
    unreachable or rejects the token.
    """

    def __init__(
        self,
        address: str,
        *,
        patience: float = 60.0,
        poll: float = 1.0,
        client: Callable[[str], Any] | None = None,
    ) -> None:
        self.address, self._patience, self._poll = address, patience, poll
        self._make_client = client or ray_client
        self._client: Any = None

    def version(self) -> str:
        """The cluster's Ray version."""
        return self._ask(lambda client: str(client.cluster_version()))

    def check_version(self) -> str:
        """The cluster's Ray version; VersionMismatchError unless it is that of this environment."""
        import ray

        theirs, ours = self.version(), ray.__version__
        if theirs != ours:
            raise VersionMismatchError(
                f"The cluster at {self.address} runs Ray {theirs}, this environment has {ours}; both must be equal. "
                f"Install ray=={theirs} here or move the cluster to {ours}."
            )
        return theirs

    def state(self, submission_id: str) -> JobState | None:
        """The job's state now; None if the cluster knows no such job."""
        try:
            info = self._ask(lambda client: client.get_job_info(submission_id))
        except NotFoundError:
            return None
        status = str(getattr(info.status, "value", info.status))
        return JobState(submission_id, status, info.message or "", getattr(info, "driver_exit_code", None))

    def submit(
        self,
        entrypoint: str,
        submission_id: str,
        *,
        env: Mapping[str, str] | None = None,
        metadata: Mapping[str, str] | None = None,
        resources: Resources | None = None,
    ) -> bool:
        """Start `entrypoint` (a shell command) under this id; False if the id was taken before, whoever took it.

        env: variables of the job; the dashboard shows them, so that secrets are rejected (ConfigError). resources: what
        the command's own process reserves, on whichever node has it; None leaves it on the head without a reservation.
        """
        env, asked = dict(env or {}), _reservation(resources)
        _reject_secrets(env)

        def send(client: Any) -> bool:
            # A request whose reply was lost may have been carried out, so each try checks first.
            if self._known(client, submission_id):
                return False
            try:
                client.submit_job(
                    entrypoint=entrypoint,
                    submission_id=submission_id,
                    runtime_env={"env_vars": env} if env else None,
                    metadata=dict(metadata or {}),
                    **asked,
                )
            except RuntimeError as error:
                if "already exists" in str(error):
                    return False
                raise
            return True

        self.check_version()
        return self._ask(send)

    def wait(
        self,
        submission_id: str,
        *,
        deadline: float | None = None,
        start_within: float = 900.0,
        waits_for: str = "",
        on_log: OnLog | None = None,
    ) -> JobState:
        """Wait until the job has succeeded. on_log gets each new piece of its output; without it no log is asked for.

        Raises RunFailedError if it fails, is stopped, stays PENDING for `start_within` seconds (the sentence says that
        it waited for `waits_for`) or runs longer than `deadline` seconds from now (it is stopped then); NotFoundError
        if the cluster does not know it.
        """
        tail = None if on_log is None else LogTail(lambda: self._make_client(self.address), submission_id)
        try:
            return self._wait(submission_id, deadline, start_within, waits_for, on_log, tail)
        finally:
            if tail is not None:
                tail.close()

    def _wait(
        self,
        submission_id: str,
        deadline: float | None,
        start_within: float,
        waits_for: str,
        on_log: OnLog | None,
        tail: LogTail | None,
    ) -> JobState:
        started = time.monotonic()
        while True:
            state = self.state(submission_id)
            if state is None:
                raise NotFoundError(
                    f"The Ray cluster at {self.address} knows no job {submission_id}; it was restarted or the job was "
                    "deleted. Run the same command again to submit it anew."
                )
            if on_log is not None and tail is not None and (text := tail.rest() if state.ended else tail.pieces()):
                on_log(text)
            if state.ended:
                return _succeeded(state, self.address)
            waited = time.monotonic() - started
            if deadline is not None and waited > deadline:
                self._give_up(submission_id, f"did not end within {deadline:g} s")
            if state.status == "PENDING" and waited > start_within:
                waited_for = f", in which it waited for {waits_for}" if waits_for else ""
                self._give_up(submission_id, f"was not started within {start_within:g} s{waited_for},")
            time.sleep(self._poll)

    def stop(self, submission_id: str, *, within: float = 60.0) -> JobState:
        """Stop the job and return its final state once the cluster says that it has ended.

        Raises NotFoundError for an unknown job, RunFailedError if it still runs after `within` seconds.
        """
        until = time.monotonic() + within
        while True:
            state = self.state(submission_id)
            if state is None:
                raise NotFoundError(f"The Ray cluster at {self.address} knows no job {submission_id}.")
            if state.ended:
                return state
            if time.monotonic() > until:
                raise RunFailedError(
                    f"Ray job {submission_id} at {self.address} is still {state.status} {within:g} s after it was told "
                    "to stop; see it in the Ray dashboard."
                )
            self._ask(lambda client: client.stop_job(submission_id))
            time.sleep(self._poll)

    def _give_up(self, submission_id: str, why: str) -> None:
        self.stop(submission_id)
        raise RunFailedError(f"Ray job {submission_id} at {self.address} {why} and was stopped.")

    def _known(self, client: Any, submission_id: str) -> bool:
        try:
            client.get_job_info(submission_id)
        except RuntimeError as error:
            if is_absent(error):
                return False
            raise
        return True

    def _ask(self, request: Callable[[Any], T]) -> T:
        """The answer to `request(client)`, asked again while the server cannot be reached."""
        until = time.monotonic() + self._patience
        while True:
            try:
                if self._client is None:
                    self._client = self._make_client(self.address)
                return request(self._client)
            except LsrError:
                raise
            except Exception as error:
                if is_absent(error):
                    raise NotFoundError(f"The Ray cluster at {self.address} says: {error}") from error
                if is_rejected(error):
                    raise RunFailedError(
                        f"The Ray cluster at {self.address} rejects the token of this process; set RAY_AUTH_TOKEN_PATH "
                        "to the file with the cluster's token."
                    ) from error
                if not is_passing(error):
                    raise RunFailedError(f"The Ray cluster at {self.address} rejected a request: {error}") from error
                if time.monotonic() > until:
                    raise RunFailedError(
                        f"The Ray cluster at {self.address} did not answer for {self._patience:g} s ({error}); check "
                        "LSR_RAY_JOBS_ADDRESS and that the cluster runs. Jobs already submitted continue."
                    ) from error
                time.sleep(min(self._poll, 1.0))


def run_job(
    address: str,
    *,
    entrypoint: str,
    name: str,
    env: Mapping[str, str] | None = None,
    resources: Resources | None = None,
    start_within: float = 900.0,
    on_log: OnLog | None = None,
    deadline: float | None = None,
    accept: Callable[[], bool] = lambda: True,
) -> JobState:
    """Run `entrypoint` as job `name-aN` and wait for it; a living attempt is re-attached, a dead one followed by N+1.

    resources: as `JobServer.submit`. start_within: seconds that it may wait for them. accept: whether the result of an
    attempt that succeeded earlier is still there; if not, it counts as dead. An interrupt (Ctrl-C, SIGTERM, a cancelled
    flow run) stops the job; a killed caller leaves it running, to be re-attached. Raises as `wait`.
    """
    server = JobServer(address)
    submission_id = _next_attempt(server, name, accept)
    server.submit(entrypoint, submission_id, env={**(env or {}), SUBMISSION: submission_id}, resources=resources)
    waits_for = str(resources) if resources else ""
    try:
        return server.wait(
            submission_id, deadline=deadline, start_within=start_within, waits_for=waits_for, on_log=on_log
        )
    except Exception:
        raise
    # Whatever is no Exception asks this process to end; Prefect's own signal is neither of Python's two.
    except BaseException:
        server.stop(submission_id)
        raise


def server_version(address: str) -> str:
    """The Ray version of the cluster whose job server is at `address`; RunFailedError if it does not answer,
    VersionMismatchError if it is not this environment's.
    """
    return JobServer(address, patience=5.0).check_version()


def _next_attempt(server: JobServer, name: str, accept: Callable[[], bool]) -> str:
    number = 1
    while True:
        submission_id = f"{name}-a{number}"
        state = server.state(submission_id)
        if state is None or not state.ended or (state.status == "SUCCEEDED" and accept()):
            return submission_id
        number += 1


def _succeeded(state: JobState, address: str) -> JobState:
    """The state if it is SUCCEEDED. Else raises the job's own error where its command is one of ours, which end with
    `error: <sentence>` and the exit code of the error's type; RunFailedError with the last lines for any other.
    """
    if state.status == "SUCCEEDED":
        return state
    lines = [line for line in state.message.splitlines() if line.strip()]
    sentence = next((line.removeprefix("error: ") for line in reversed(lines) if line.startswith("error: ")), None)
    kind = next((cls for cls in known_errors().values() if cls.exit_code == state.exit_code), None)
    if sentence is not None and kind is not None:
        raise kind(f"{sentence} (Ray job {state.submission_id} at {address})")
    code = "" if state.exit_code is None else f" with exit code {state.exit_code}"
    last = "\n".join(lines[-_LAST_LINES:])
    raise RunFailedError(
        f"Ray job {state.submission_id} at {address} ended as {state.status}{code}. Its last words:\n{last}"
    )


def _reservation(resources: Resources | None) -> dict[str, float | int]:
    """What Ray's job client calls these resources."""
    if resources is None:
        return {}
    names = {"CPU": "entrypoint_num_cpus", "GPU": "entrypoint_num_gpus", "memory": "entrypoint_memory"}
    asked = {names[kind]: amount for kind, amount in resources.as_ray().items()}
    return {name: int(amount) if name == "entrypoint_memory" else amount for name, amount in asked.items()}


def _reject_secrets(env: Mapping[str, str]) -> None:
    secret = sorted(name for name in env if any(word in name.upper() for word in _SECRET_WORDS) and "PATH" not in name)
    if secret:
        raise ConfigError(
            f"A Ray job's variables are shown in its dashboard, so {', '.join(secret)} must not be among them; "
            "give secrets to the cluster's own processes (the pods' environment)."
        )
