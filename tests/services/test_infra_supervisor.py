"""Starting and stopping plain processes: readiness, records, order, and what a failure says. Needs no server."""

from __future__ import annotations

import json
import signal
import stat
import sys
import tempfile
import time
from pathlib import Path

import pytest

from infra.local.plan import load_plan
from infra.local.supervisor import Supervisor, stop_all
from infra.services import main
from lsr.core.errors import ConfigError, RunFailedError
from lsr.core.processes import alive, mark


@pytest.fixture
def supervisor(tmp_path: Path) -> Supervisor:
    return Supervisor(tmp_path)


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_service_is_recorded_before_it_is_ready(supervisor: Supervisor) -> None:
    flag = supervisor.folder / "ready"
    service = supervisor.start("one", python(f"import time; open({str(flag)!r}, 'w'); time.sleep(99)"))
    assert supervisor.running() == [service]
    supervisor.wait(service, flag.exists, seconds=30)
    assert supervisor.seconds["one"] >= 0
    assert stop_all(supervisor.folder) == ["one"]
    assert not alive(service.mark)


def test_the_last_started_is_stopped_first_and_each_before_the_next(supervisor: Supervisor) -> None:
    note = supervisor.folder / "order"
    code = (
        "import signal, sys, time\n"
        "def end(*_):\n    time.sleep(0.2); open({note!r}, 'a').write({name!r}); sys.exit()\n"
        "signal.signal(signal.{signal}, end); open({name!r}, 'w'); time.sleep(99)"
    )
    for name, number in (("a", signal.SIGTERM), ("b", signal.SIGINT)):
        text = code.format(note=str(note), name=name, signal=number.name)
        service = supervisor.start(name, python(text), stop_signal=number)
        supervisor.wait(service, (supervisor.folder / name).exists, seconds=30)
    assert stop_all(supervisor.folder) == ["b", "a"]
    assert note.read_text() == "ba"


def test_a_service_that_ends_while_starting_shows_its_log(supervisor: Supervisor) -> None:
    service = supervisor.start("broken", python("print('port 1 is taken'); raise SystemExit(3)"))
    with pytest.raises(RunFailedError, match=r"(?s)Service broken ended while it was starting.*port 1 is taken"):
        supervisor.wait(service, lambda: False, seconds=30)


def test_a_service_that_is_never_ready_shows_its_log(supervisor: Supervisor) -> None:
    service = supervisor.start("slow", python("print('warming up', flush=True); import time; time.sleep(99)"))
    try:
        while not supervisor.log("slow").read_text():
            time.sleep(0.05)
        with pytest.raises(RunFailedError, match=r"(?s)was not ready within 0\.1 s.*warming up"):
            supervisor.wait(service, lambda: False, seconds=0.1)
    finally:
        stop_all(supervisor.folder)


def test_a_stubborn_service_is_killed_with_what_it_started(supervisor: Supervisor) -> None:
    flag = supervisor.folder / "child"
    deaf = "import os, signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
    child = f"{deaf}; open({str(flag)!r}, 'w').write(str(os.getpid())); time.sleep(99)"
    code = f"{deaf}; subprocess.run([sys.executable, '-c', {child!r}])"
    service = supervisor.start("deaf", python(code), stop_seconds=0.2)
    supervisor.wait(service, lambda: flag.exists() and flag.read_text() != "", seconds=30)
    below = mark(int(flag.read_text()))
    assert below is not None
    stop_all(supervisor.folder)
    assert not alive(service.mark)
    assert not alive(below)


def test_a_recorded_pid_that_is_now_somebody_else_is_left_alone(supervisor: Supervisor) -> None:
    me = mark()
    assert me is not None
    record = {"name": "old", "pid": me.pid, "started": me.started - 1000, "stop_signal": 9, "stop_seconds": 1}
    (supervisor.folder / "services.json").write_text(json.dumps({"services": [record]}))
    assert stop_all(supervisor.folder) == []


def test_services_do_not_see_the_callers_settings(supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://elsewhere")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "mine")
    out = supervisor.run(
        "probe", python("import os; print(sorted(os.environ)); print(os.environ['HOME'])"), env={"A": "1"}
    )
    assert "PREFECT_API_URL" not in out
    assert "AWS_SECRET" not in out
    assert "'A'" in out
    assert str(supervisor.folder) in out


def test_a_missing_program_names_its_remedy(supervisor: Supervisor) -> None:
    with pytest.raises(ConfigError, match=r"no-such-server is not installed; `sudo infra/apt\.sh`"):
        supervisor.start("x", ["no-such-server"])


def test_a_failing_command_shows_its_complaint(supervisor: Supervisor) -> None:
    with pytest.raises(RunFailedError, match=r"(?s)exited with 4.*no such role"):
        supervisor.run("db", python("import sys; print('no such role', file=sys.stderr); sys.exit(4)"))


def test_the_plan_is_made_once_private_and_with_ports_of_its_own() -> None:
    with tempfile.TemporaryDirectory(prefix="lsr-", dir="/tmp") as short:
        folder = Path(short)
        plan = load_plan(folder)
        assert stat.S_IMODE((folder / "plan.json").stat().st_mode) == 0o600
        assert load_plan(folder) == plan
        assert len(set(plan.ports.values())) == len(plan.ports)


def test_a_folder_with_a_long_name_is_rejected_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["up", "--dir", str(tmp_path / ("x" * 80))]) == ConfigError.exit_code
    message = capsys.readouterr().err
    assert message.startswith("error: --dir may be 60 characters long at most")
    assert list(tmp_path.iterdir()) == []


def test_down_where_nothing_runs_is_no_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["down", "--dir", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": []}
