"""Stores in a folder: nothing half-written is ever visible, and what a disk can do wrong becomes a sentence."""

from __future__ import annotations

import fcntl
import os
import resource
import signal
import subprocess
import sys
import time

import pytest

from lsr.core.canonical import sha256_hex
from lsr.core.errors import ConflictError, StoreError
from lsr.core.processes import process_token, token_ended
from lsr.store import open_store
from lsr.store.files import ABANDONED_SECONDS
from lsr.store.local import LocalStore

KILLED_AT_FSYNC = """
import os, signal, sys
from lsr.store import open_store
store, method, nth = open_store(sys.argv[1]), sys.argv[2], int(sys.argv[3])
calls, fsync = [], os.fsync
def dying(fd):
    fsync(fd)
    calls.append(fd)
    if len(calls) == nth:
        os.kill(os.getpid(), signal.SIGKILL)
os.fsync = dying
data = b"new" * 100_000
if method == "replace":
    store.replace("folder/key", data, store.head("folder/key").etag)
else:
    getattr(store, method)("folder/key", data)
"""

WRITES_FOR_EVER = """
import hashlib, os, sys
from lsr.store import open_store
store = open_store(sys.argv[1])
print("ready", flush=True)
while True:
    data = os.urandom(3_000_000)
    store.write(f"blobs/{hashlib.sha256(data).hexdigest()}.bin", data)
"""


@pytest.fixture
def store(tmp_path):
    return LocalStore(tmp_path / "store")


@pytest.mark.parametrize(("method", "old"), [("create", []), ("write", [b"old"]), ("replace", [b"old"])])
def test_a_process_killed_at_any_fsync_leaves_the_old_object_or_the_new_one(tmp_path, method, old):
    """SIGKILL after each fsync in turn: of the data, before it gets its name; and of the folder, after that."""
    outcomes = []
    for nth in (1, 2):
        store = LocalStore(tmp_path / f"{method}-{nth}")
        store.write("folder/other", b"")
        for data in old:
            store.write("folder/key", data)
        command = [sys.executable, "-c", KILLED_AT_FSYNC, store.uri, method, str(nth)]
        assert subprocess.run(command).returncode == -signal.SIGKILL
        outcomes.append([store.read(info.key) for info in store.list("folder/k")])
    assert outcomes == [old, [b"new" * 100_000]]


@pytest.mark.slow
def test_a_writer_killed_at_a_random_moment_leaves_only_whole_objects(tmp_path):
    store = LocalStore(tmp_path)
    for delay in (0.01, 0.03, 0.07, 0.2):
        writer = subprocess.Popen([sys.executable, "-c", WRITES_FOR_EVER, store.uri], stdout=subprocess.PIPE)
        writer.stdout.readline()
        time.sleep(delay)
        writer.kill()
        writer.wait()
        writer.stdout.close()
    names = [info.key for info in store.list("")]
    assert names
    assert all(sha256_hex(store.read(name)) in name for name in names)


def test_create_has_one_winner_among_processes(tmp_path):
    code = (
        "import os, sys; from lsr.store import open_store; sys.stdin.read(1);"
        "print(open_store(sys.argv[1]).create('k', str(os.getpid()).encode()))"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", code, f"file://{tmp_path}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(4)
    ]
    replies = [maker.communicate("x")[0].strip() for maker in makers]
    assert sorted(replies) == ["False", "False", "False", "True"]
    assert LocalStore(tmp_path).read("k") == str(makers[replies.index("True")].pid).encode()


def test_a_swap_is_rejected_although_the_content_came_back(store):
    """A, B, A within one tick of the kernel's clock: size, bytes and even the inode may be equal, the etag is not."""
    first = store.write("p", b"A")
    for _ in range(50):
        store.write("p", b"B")
        assert store.write("p", b"A") != first
    with pytest.raises(ConflictError):
        store.replace("p", b"C", first)


def test_etags_differ_even_when_the_clock_stands_still(store, monkeypatch):
    now = time.time_ns()
    monkeypatch.setattr("lsr.store.local.time.time_ns", lambda: now)
    etags = [store.write("p", b"A") for _ in range(20)]
    assert len(set(etags)) == 20


LEAVING = """
import os, signal, sys
from pathlib import Path
from lsr.store.files import unfinished
with unfinished(Path(sys.argv[1])) as (file, path):
    file.write(b"half")
    file.flush()
    if sys.argv[2] == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    print("writing", flush=True)
    sys.stdin.read()
"""


def writer(folder, what):
    """A process with an unfinished file in `folder`, which dies at once or writes until it is told to end."""
    command = [sys.executable, "-c", LEAVING, str(folder), what]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_what_a_killed_writer_left_goes_at_the_next_start_and_a_living_ones_stays(store):
    store.write("a", b"1")
    folder = store._root / ".lsr-store/tmp"
    with writer(folder, "lives") as living, writer(folder, "dies") as dead:
        assert living.stdout.readline() == b"writing\n"
        assert dead.wait(30) == -signal.SIGKILL
        past = time.time() - 10 * ABANDONED_SECONDS
        for path in folder.iterdir():
            os.utime(path, (past, past))
        assert {path.name.partition(".")[0] for path in folder.iterdir()} == {str(living.pid), str(dead.pid)}
        LocalStore(store._root).write("b", b"2")
        assert [path.name.partition(".")[0] for path in folder.iterdir()] == [str(living.pid)]
    assert list(folder.iterdir()) == []
    assert [info.key for info in store.list("")] == ["a", "b"]


def test_what_another_machine_left_goes_when_it_is_old_and_nobody_holds_it(store):
    store.write("a", b"1")
    folder = store._root / ".lsr-store/tmp"
    names = ("7.1000.abcdefabcdef-old.tmp", "7.1000.abcdefabcdef-new.tmp", "7.1000.abcdefabcdef-held.tmp")
    for name in names:
        (folder / name).write_bytes(b"x")
    past = time.time() - ABANDONED_SECONDS - 60
    for name in (names[0], names[2]):
        os.utime(folder / name, (past, past))
    with open(folder / names[2], "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        LocalStore(store._root).write("b", b"2")
    assert sorted(path.name for path in folder.iterdir()) == sorted(names[1:])


def test_a_pid_that_the_system_gave_away_again_is_another_process():
    pid, started, space = process_token().split(".")
    assert token_ended(f"{pid}.{started}.{space}") is False
    assert token_ended(f"{pid}.{int(started) - 1}.{space}") is True
    for foreign in (f"{pid}.{started}.abcdefabcdef", "1", "", "a.b.c", f"x.{started}.{space}"):
        assert token_ended(foreign) is None


@pytest.mark.parametrize("root", ["/proc/lsr-store", "{tmp}/file/store"])
@pytest.mark.parametrize("call", ["write", "create"])
def test_a_folder_that_cannot_be_written_is_named(tmp_path, root, call):
    (tmp_path / "file").write_bytes(b"")
    store = open_store(f"file://{root.format(tmp=tmp_path)}")
    with pytest.raises(StoreError, match=r"Cannot (write|create) file://.*store/a/b: .* choose") as caught:
        getattr(store, call)("a/b", b"1")
    assert store.uri in str(caught.value)
    assert list(store.list("")) == []


def test_a_full_disk_is_said_and_leaves_nothing(store):
    """A limit on the size of files stands in for the full disk: the write fails half-way in the same place."""
    store.write("small", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        for call in (lambda: store.write("small", b"x" * (2 << 20)), lambda: store.create("large", b"x" * (2 << 20))):
            with pytest.raises(StoreError, match="full; free some space"):
                call()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert store.read("small") == b"old"
    assert [info.key for info in store.list("")] == ["small"]
    assert list((store._root / ".lsr-store/tmp").iterdir()) == []


def test_an_object_cannot_be_a_folder_too(store):
    store.write("a", b"1")
    with pytest.raises(StoreError, match="not a folder"):
        store.write("a/b", b"2")
    assert store.head("a/b") is None


def test_objects_have_the_rights_that_the_umask_gives(store):
    old = os.umask(0o027)
    try:
        store.write("w", b"1")
        store.create("c", b"1")
    finally:
        os.umask(old)
    assert {(store._root / key).stat().st_mode & 0o777 for key in "wc"} == {0o640}


def test_a_folder_of_the_users_own_files_can_be_read_as_a_store(tmp_path):
    """Reading makes nothing: a source folder stays as it is, linked files are followed, linked folders are not."""
    (tmp_path / "photos #1").mkdir()
    (tmp_path / "photos #1/a b.jpg").write_bytes(b"jpeg")
    (tmp_path / "photos #1/link.jpg").symlink_to("a b.jpg")
    (tmp_path / "photos #1/loop").symlink_to(".")
    (tmp_path / "photos #1/broken").symlink_to("nowhere")
    store = open_store(f"file://{tmp_path}/photos #1")
    assert [info.key for info in store.list("")] == ["a b.jpg", "link.jpg"]
    assert store.read("link.jpg") == b"jpeg"
    assert sorted(p.name for p in (tmp_path / "photos #1").iterdir()) == ["a b.jpg", "broken", "link.jpg", "loop"]


def test_the_store_is_a_value(store):
    import pickle

    store.write("a", b"1")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"1"  # noqa: S301 - our own bytes
