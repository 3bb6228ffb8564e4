"""A local Ray leaves nothing behind: not when it ends, not when its owner is killed."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from lsr.cluster import watch
from lsr.cluster.leftovers import reap
from lsr.cluster.session import Session, current, ray_session
from lsr.core.errors import RunFailedError
from lsr.core.processes import ProcessMark, alive, mark

DRIVER = """
import sys, time
from pathlib import Path
from lsr.cluster.session import ray_session
with ray_session(Path(sys.argv[1]), cpus=2) as session:
    print(session.temp, flush=True)
    time.sleep(300)
"""


def leave(home: Path, temp: Path, owner: ProcessMark, processes: list[ProcessMark]) -> Path:
    """A record as a killed session leaves it."""
    record = home / "ray" / f"{owner.pid}.json"
    record.parent.mkdir(parents=True, exist_ok=True)
    plain = {"owner": asdict(owner), "temp": str(temp)}
    record.write_text(json.dumps({**plain, "processes": [asdict(each) for each in processes]}))
    return record


def gone() -> ProcessMark:
    """A process of this machine that had this one's pid and has ended."""
    me = mark()
    assert me is not None
    return replace(me, started=me.started - 1)


def test_importing_the_package_imports_neither_ray_nor_torch() -> None:
    code = "import sys, lsr.cluster.jobs, lsr.cluster.train; print({'ray', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_reap_ends_what_a_dead_owner_left(tmp_path: Path) -> None:
    left = subprocess.Popen(["sleep", "99"])
    marked = mark(left.pid)
    assert marked is not None
    temp = tmp_path / "lsr-ray-temp"
    temp.mkdir()
    record = leave(tmp_path, temp, gone(), [marked])
    assert reap(tmp_path) == 1
    assert not alive(marked)
    assert not temp.exists()
    assert not record.exists()
    left.wait()


@pytest.mark.parametrize("whose", ["a living owner's", "another machine's"])
def test_reap_leaves_alone_what_is_not_a_leftover(tmp_path: Path, whose: str) -> None:
    left = subprocess.Popen(["sleep", "99"])
    try:
        marked, me = mark(left.pid), mark()
        assert marked is not None
        assert me is not None
        owner = me if whose == "a living owner's" else replace(gone(), space="another boot:1")
        record = leave(tmp_path, tmp_path, owner, [marked])
        assert reap(tmp_path) == 0
        assert alive(marked)
        assert record.exists()
    finally:
        left.kill()
        left.wait()


def test_reap_removes_no_folder_that_is_not_rays(tmp_path: Path) -> None:
    precious = tmp_path / "photos"
    precious.mkdir()
    leave(tmp_path, precious, gone(), [])
    assert reap(tmp_path) == 1
    assert precious.exists()


def test_reap_bears_a_damaged_record(tmp_path: Path) -> None:
    (tmp_path / "ray").mkdir()
    (tmp_path / "ray" / "1.json").write_text("{")
    assert reap(tmp_path) == 0


def test_the_token_is_readable_by_its_owner_only(shared_ray: Session) -> None:
    assert shared_ray.temp is not None
    token = shared_ray.temp / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert os.environ["RAY_AUTH_TOKEN_PATH"] == str(token)


def test_socket_paths_fit_the_limit_of_the_system(shared_ray: Session) -> None:
    assert shared_ray.temp is not None
    sockets = [path for path in shared_ray.temp.rglob("*") if path.is_socket()]
    assert sockets
    assert max(len(str(path).encode()) for path in sockets) <= 107


def test_a_session_inside_a_session_is_the_same(shared_ray: Session, tmp_path: Path) -> None:
    with ray_session(tmp_path) as inner:
        assert inner is shared_ray
    assert current() is shared_ray, "leaving the inner block must not end the outer one"
    assert not (tmp_path / "ray").exists()


@pytest.mark.slow
def test_a_killed_owner_leaves_nothing_after_reap(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    temp = Path(driver.stdout.readline().strip())
    (record,) = (tmp_path / "ray").glob("*.json")
    marks = [ProcessMark(**each) for each in json.loads(record.read_text())["processes"]]
    assert len(marks) >= 2, "the record names Ray's processes"
    assert all(alive(each) for each in marks)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    driver.stdout.close()
    assert temp.exists()
    assert reap(tmp_path) == 1
    assert not any(alive(each) for each in marks)
    assert not temp.exists()


def test_the_death_of_rays_control_process_is_told_and_ends_the_command(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program of that name stands in; the other process of that Ray ends with it."""
    monkeypatch.setattr(watch, "POLL_SECONDS", 0.05)
    centre = tmp_path / "gcs_server"
    centre.symlink_to(shutil.which("sleep") or "")
    left = [subprocess.Popen([str(centre), "99"]), subprocess.Popen(["sleep", "99"])]
    try:
        marks = [mark(process.pid) for process in left]
        codes: list[int] = []
        (tmp_path / "temp").mkdir()
        with watch.watched([each for each in marks if each], tmp_path / "temp", codes.append):
            time.sleep(0.3)
            assert codes == []
            left[0].kill()
            deadline = time.monotonic() + 20
            while not codes and time.monotonic() < deadline:
                time.sleep(0.05)
    finally:
        for process in left:
            process.kill()
            process.wait()
    assert codes == [RunFailedError.exit_code]
    assert marks[1] is not None
    assert not alive(marks[1])
    assert not (tmp_path / "temp").exists()
    assert re.search(r"^error: Ray's control process \(gcs_server, pid \d+\) has died.*again", capfd.readouterr().err)


@pytest.mark.slow
def test_sigterm_closes_the_session(tmp_path: Path) -> None:
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    temp = Path(driver.stdout.readline().strip())
    driver.terminate()
    assert driver.wait(timeout=120) != 0
    driver.stdout.close()
    assert not temp.exists()
    assert list((tmp_path / "ray").iterdir()) == []


@pytest.mark.slow
def test_sessions_follow_each_other_in_one_process(tmp_path: Path) -> None:
    """Ray remembers mode and token of the first one; the second must not be locked out by that."""
    code = """
import sys, os
from pathlib import Path
import ray
from lsr.cluster.session import ray_session
from lsr.cluster.shards import map_shards
for _ in range(2):
    with ray_session(Path(sys.argv[1]), cpus=2):
        print(list(map_shards(abs, [-3], tasks=1)))
    print('RAY_AUTH_MODE' in os.environ)
"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RAY_AUTH")}
    out = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, env=environ)
    assert out.stdout == "[(0, 3)]\nFalse\n" * 2, out.stderr[-2000:]
