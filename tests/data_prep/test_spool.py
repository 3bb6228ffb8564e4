"""Sequences on disk: in order, equal to what they hold, small in memory, gone with their process."""

from __future__ import annotations

import copy
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from data_prep.inspection import INSPECTED, Inspected
from data_prep.items import ITEM, Item
from data_prep.spool import PAGE, Code, Part, Spool
from lsr.core.errors import InputError, StoreError

from .conftest import items_with

# Of 100,000 records of 309 characters each, 30 MB of text and more as objects.
MOST_MIB = 20
PLAIN: Code[object] = Code(lambda value: value, lambda value: value)
# With surrogates on their own, which JSON text may hold and UTF-8 may not.
texts = st.text(max_size=6)
items = items_with(texts)
found = st.builds(Inspected, item=items, sha256=texts, reason=st.none() | texts, width=st.integers(0), phash=texts)


@given(st.lists(items | found, max_size=12), st.integers(-20, 20), st.integers(-20, 20))
def test_records_come_back_as_a_list_of_them_would_give_them(records, start, stop) -> None:
    for kind, code in ((Item, ITEM), (Inspected, INSPECTED)):
        held = [record for record in records if isinstance(record, kind)]
        spool = Spool(iter(held), code)
        assert spool == held
        assert list(spool) == held
        assert len(spool) == len(held)
        assert [spool[place] for place in range(-len(held), len(held))] == held + held
        assert spool[start:stop] == held[start:stop]
        assert spool[::-1] == held[::-1]
        for place in (len(held), -len(held) - 1):
            with pytest.raises(IndexError):
                spool[place]


names = st.text(st.sampled_from("\0\1a\xff\ud800\uffff\U00010000"), max_size=3)


@given(st.lists(st.tuples(st.tuples(names, names), st.integers(0, 2)), max_size=30))
def test_sorted_is_the_order_of_code_points_and_stable(records) -> None:
    given = [[list(name), number] for name, number in records]
    assert Spool(given, PLAIN, by=lambda record: tuple(record[0])) == sorted(given, key=lambda record: record[0])


def test_it_is_read_over_its_pages_and_its_parts_are_of_it() -> None:
    numbers = list(range(2 * PAGE + 3))
    spool = Spool(numbers, PLAIN)
    assert list(spool) == numbers
    part = Part(spool, np.array([5, 3, 2000]))
    assert part == [5, 3, 2000]
    assert part[1:] == (3, 2000)
    assert part != [5, 3]
    assert part != 7
    assert repr(part) == "(5, ...)"
    assert repr(part[:1]) == "(5)"
    assert repr(part[:0]) == "()"
    # As pickle does it for another process.
    assert copy.copy(part) == (5, 3, 2000)
    assert type(copy.copy(spool[:2])) is tuple


def test_what_goes_wrong_where_records_come_from_is_raised_as_it_is() -> None:
    def records():
        yield 1
        raise InputError("The third row is broken.")

    with pytest.raises(InputError, match="third row"):
        Spool(records(), PLAIN)


def run(code: str, **options) -> subprocess.Popen[str]:
    environment = {**os.environ, **options.pop("env", {})}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    start = "import sys\nfrom data_prep.spool import Code, Spool\nPLAIN = Code(lambda v: v, lambda v: v)\n"
    return subprocess.Popen([sys.executable, "-c", start + code], env=environment, **pipes, **options)


def test_memory_does_not_grow_with_the_records() -> None:
    code = (
        "import resource\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "n, before = int(sys.stdin.readline()), peak()\n"
        "spool = Spool((f'{i * 7919 % n:09}' + 'x' * 300 for i in range(n)), PLAIN, by=lambda v: (v,))\n"
        "assert all(int(v[:9]) == i for i, v in enumerate(spool))\n"
        "print(peak() - before)\n"
    )
    out, error = run(code).communicate("100000\n", timeout=120)
    assert int(out) / 1024 < MOST_MIB, error


def test_a_killed_process_leaves_no_file(tmp_path: Path) -> None:
    code = "s = Spool(range(10**5), PLAIN, by=lambda v: ('x' * 100,))\nprint('there', flush=True)\nsys.stdin.read()\n"
    process = run(code, env={"TMPDIR": str(tmp_path), "SQLITE_TMPDIR": str(tmp_path)})
    assert process.stdout is not None
    assert process.stdout.readline() == "there\n"
    opened = [os.readlink(entry) for entry in Path(f"/proc/{process.pid}/fd").iterdir()]
    assert any(name.startswith(str(tmp_path)) for name in opened)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_in_a_sentence() -> None:
    """A limit on the size of files stands for it: SQLite meets an error of writing either way."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    code = (
        "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\nfrom lsr.core.errors import StoreError\n"
        "try:\n    Spool(('x' * 1000 for _ in range(10**5)), PLAIN)\nexcept StoreError as e:\n    print(e)\n"
    )
    out, error = run(code, preexec_fn=limit).communicate(timeout=60)
    assert "TMPDIR" in out, error
    assert StoreError.exit_code == 5
