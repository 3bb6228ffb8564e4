"""The promotion log: one chain, one winner, a verdict for exactly this version, a way back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lsr.core.errors import ConflictError, GateRejectedError, InputError, IntegrityError, NotFoundError
from lsr.registry.promotion import champion, champions, get_verdict, promote, put_verdict, read_log, retire, rollback
from lsr.registry.versions import Version
from lsr.store import Store
from lsr.store.records import parse_record, seal


def version(number: int) -> Version:
    return Version(name="m", number=number, digest=f"{number:064x}", files="f" * 64)


def crown(store: Store, judged: Callable, number: int, today: int | None = None, **options: object) -> None:
    against = version(today) if today else None
    digest = put_verdict(store, judged(version(number), against))
    promote(store, version(number), digest, who="ada", **options)


def test_each_record_names_its_predecessor_and_the_verdict_behind_it(store: Store, judged: Callable) -> None:
    crown(store, judged, 1)
    crown(store, judged, 2, today=1)
    first, second = read_log(store, "m")
    assert (first.n, first.previous, second.n, second.previous) == (1, None, 2, first.own_digest)
    assert get_verdict(store, second.verdict).candidate.version == 2
    assert champion([first, second]).version == 2


@pytest.mark.parametrize("decision", ["FAIL", "INCONCLUSIVE"])
def test_only_a_pass_promotes_and_the_rejection_carries_the_reason(
    store: Store, judged: Callable, decision: str
) -> None:
    digest = put_verdict(store, judged(version(1), decision=decision))
    with pytest.raises(GateRejectedError, match=f"psnr: {decision}"):
        promote(store, version(1), digest, who="ada")
    assert read_log(store, "m") == []


def test_a_verdict_on_another_version_promotes_nothing(store: Store, judged: Callable) -> None:
    digest = put_verdict(store, judged(version(1)))
    with pytest.raises(GateRejectedError, match="about m version 1"):
        promote(store, version(2), digest, who="ada")


def test_a_verdict_against_yesterdays_champion_is_stale(store: Store, judged: Callable) -> None:
    stale = put_verdict(store, judged(version(3), version(1)))
    crown(store, judged, 1)
    crown(store, judged, 2, today=1)
    with pytest.raises(ConflictError, match="compared with version 1, but m now has version 2"):
        promote(store, version(3), stale, who="ada")


def test_an_altered_verdict_is_rejected(store: Store, judged: Callable) -> None:
    digest = put_verdict(store, judged(version(1), decision="FAIL"))
    key = f"verdicts/{digest}.json"
    store.write(key, store.read(key).replace(b"FAIL", b"PASS"))
    with pytest.raises(IntegrityError, match="digest in its name"):
        promote(store, version(1), digest, who="ada")


def test_promoting_the_champion_again_on_the_same_verdict_changes_nothing(store: Store, judged: Callable) -> None:
    digest = put_verdict(store, judged(version(1)))
    first = promote(store, version(1), digest, who="ada")
    assert promote(store, version(1), digest, who="bob") == first
    assert len(read_log(store, "m")) == 1


def test_a_missing_verdict_is_named(store: Store) -> None:
    with pytest.raises(NotFoundError, match="verdicts/"):
        promote(store, version(1), "0" * 64, who="ada")


def test_rollback_is_one_more_record_and_goes_further_back_each_time(store: Store, judged: Callable) -> None:
    crown(store, judged, 1)
    crown(store, judged, 2, today=1)
    crown(store, judged, 3, today=2)
    assert rollback(store, "m", who="ada", reason="blurs faces").version == 2
    assert rollback(store, "m", who="ada", reason="so does 2").version == 1
    log = read_log(store, "m")
    assert [r.action for r in log] == ["promote"] * 3 + ["rollback"] * 2
    assert [s.version for s in champions(log)] == [1]
    with pytest.raises(InputError, match="earlier champions are none"):
        rollback(store, "m", who="ada", reason="once more")


def test_rollback_can_name_an_earlier_champion_only(store: Store, judged: Callable) -> None:
    for number in (1, 2, 3):
        crown(store, judged, number, today=number - 1 or None)
    with pytest.raises(InputError, match="version 7; the earlier champions are 1, 2"):
        rollback(store, "m", who="ada", reason="r", to=7)
    assert rollback(store, "m", who="ada", reason="r", to=1).version == 1


def test_a_version_promoted_twice_rolls_back_to_the_one_between(store: Store, judged: Callable) -> None:
    crown(store, judged, 1)
    crown(store, judged, 2, today=1)
    crown(store, judged, 1, today=2)
    assert rollback(store, "m", who="ada", reason="r", to=1).version == 1
    assert [s.version for s in champions(read_log(store, "m"))] == [1]


def test_a_rerun_does_not_bring_back_a_version_that_was_rolled_back_from(store: Store, judged: Callable) -> None:
    crown(store, judged, 1)
    crown(store, judged, 2, today=1)
    rollback(store, "m", who="ada", reason="blurs faces")
    with pytest.raises(ConflictError, match="blurs faces"):
        crown(store, judged, 2, today=1)
    crown(store, judged, 2, today=1, again=True)
    assert champion(read_log(store, "m")).version == 2


@pytest.mark.parametrize("harm", ["altered", "removed"])
def test_a_log_changed_by_hand_is_rejected(store: Store, judged: Callable, harm: str) -> None:
    for number in (1, 2, 3):
        crown(store, judged, number, today=number - 1 or None)
    key = "promotions/m/00000002.json"
    if harm == "removed":
        store.delete(key)
    else:
        record = parse_record(store.read(key), key)
        store.write(key, seal({**record, "who": "eve"}))
    with pytest.raises(IntegrityError, match="does not follow"):
        read_log(store, "m")


def test_a_flipped_bit_of_the_last_record_is_rejected(store: Store, judged: Callable) -> None:
    """Which no later record names."""
    crown(store, judged, 1)
    key = "promotions/m/00000001.json"
    store.write(key, store.read(key).replace(b'"version":1', b'"version":3'))
    with pytest.raises(IntegrityError, match=key):
        read_log(store, "m")


RACER = """
import sys, time
from pathlib import Path
from lsr.core.errors import ConflictError
from lsr.registry.promotion import promote
from lsr.registry.versions import Version
from lsr.store import open_store
uri, number, verdict, ready, go = sys.argv[1:]
version = Version(name="m", number=int(number), digest=f"{int(number):064x}", files="f" * 64)
Path(ready).touch()
while not Path(go).exists():
    time.sleep(0.001)
try:
    print("won", promote(open_store(uri), version, verdict, who=f"racer {number}").n)
except ConflictError as error:
    print("lost", error)
"""


def test_of_racing_processes_exactly_one_becomes_champion(store: Store, judged: Callable, tmp_path: Path) -> None:
    racers = []
    for number in (1, 2, 3, 4):
        verdict = put_verdict(store, judged(version(number)))
        words = [store.uri, str(number), verdict, str(tmp_path / f"ready{number}"), str(tmp_path / "go")]
        racers.append(subprocess.Popen([sys.executable, "-c", RACER, *words], stdout=subprocess.PIPE, text=True))
    while not all((tmp_path / f"ready{number}").exists() for number in (1, 2, 3, 4)):
        assert all(racer.poll() is None for racer in racers)
    (tmp_path / "go").touch()
    said = [racer.communicate(timeout=60)[0] for racer in racers]
    assert sorted(line.split()[0] for line in said) == ["lost", "lost", "lost", "won"]
    (record,) = read_log(store, "m")
    winner = next(i for i, line in enumerate(said, start=1) if line.startswith("won"))
    assert (record.version, record.who) == (winner, f"racer {winner}")
    assert all(f"version {winner}" in line for line in said if line.startswith("lost"))


def test_after_a_retirement_there_is_no_champion_and_no_way_back(store: Store, judged: Callable) -> None:
    crown(store, judged, 1)
    crown(store, judged, 2, today=1)
    record = retire(store, "m", who="ada", reason="the registry is lost")
    assert (record.action, record.version) == ("retire", 2)
    log = read_log(store, "m")
    assert champion(log) is None
    assert champions(log) == []
    with pytest.raises(InputError, match="earlier champions are none"):
        rollback(store, "m", who="ada", reason="r")
    with pytest.raises(InputError, match="no champion that could be retired"):
        retire(store, "m", who="ada", reason="r")
    with pytest.raises(ConflictError, match="taken out of production"):
        crown(store, judged, 2)
    crown(store, judged, 3)
    assert champion(read_log(store, "m")).version == 3
