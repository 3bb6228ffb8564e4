"""Hostile images and damaged shards at the command line: named one by one, and never a result that looks whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lsr.cluster.session import ray_session
from lsr.core.canonical import sha256_hex
from lsr.data.manifest import Manifest, load_manifest
from lsr.store import open_store
from tests.cli.conftest import Ended, call, recorded
from tests.data_prep.conftest import encode, hostile, make_image

Lsr = Callable[..., Ended]

REJECTED = {
    "truncated.jpg": "does not decode",
    "truncated.png": "does not decode",
    "zero.jpg": "is empty",
    "text.jpg": "not an image of a known format",
    "bomb.png": "more than max_pixels",
    "float.tif": "floating-point",
    "small.png": "below min_side",
}
CHANGED = ("cmyk.jpg", "deep-grey.png", "deep-colour.png", "palette.png", "alpha.png", "animated.gif", "animated.webp")


def of(folder: Path, *more: str) -> list[str]:
    """Options that make `folder` the source."""
    return ["--set", f"source.uri={folder}", "--set", "source.name=mine", *more]


def filled(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path, str]]:
    """(LSR_HOME, source, manifest path) after `lsr shard` over a hostile folder; Ray stays up for the module."""
    root = tmp_path_factory.mktemp("bad-data")
    source = filled(root / "raw", hostile())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(filled(root / "user", {})))
        patch.setenv("LSR_HOME", str(root / "home"))
        with ray_session(root / "ray", cpus=4):
            document = call("shard", *of(source), "--json").json
            yield root / "home", source, document["path"]


@pytest.fixture
def home(made: tuple[Path, Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of that LSR_HOME which the test may harm; LSR_HOME names it."""
    shutil.copytree(made[0], tmp_path / "home")
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_hostile_images_are_rejected_one_by_one_and_the_rest_continues(
    lsr: Lsr, home: Path, made: tuple[Path, Path, str]
) -> None:
    facts = lsr("data", "show", made[2], "--json").json
    assert facts["counts"]["rejected"] == len(REJECTED)
    assert facts["counts"]["samples"] == len(hostile()) - len(REJECTED) - facts["counts"]["duplicates"]
    reasons = [one["reason"] for one in facts["skipped"] if one["kind"] == "rejected"]
    for said in REJECTED.values():
        assert any(said in reason for reason in reasons), said
    store = open_store(f"file://{home / 'store'}")
    sources = {row["source"] for row in index_of(store, made[2])}
    assert set(CHANGED) <= sources
    assert not sources & set(REJECTED)


def index_of(store: object, path: str) -> list[dict[str, str]]:
    from lsr.data.index import read_index
    from lsr.store.content import get_blob

    manifest = load_manifest(store, path)  # type: ignore[arg-type]
    rows = [row for shard in manifest.shards for row in read_index(get_blob(store, shard.index))]  # type: ignore[arg-type]
    return [{"key": row.key, "source": row.source} for row in rows]


@pytest.mark.parametrize("bad", ["all", "most"])
def test_too_many_bad_images_fail_the_stage_and_leave_nothing(
    lsr: Lsr, made: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: str
) -> None:
    monkeypatch.setenv("LSR_HOME", str(tmp_path / "home"))
    files = {name: data for name, data in hostile().items() if name in REJECTED}
    folder = filled(tmp_path / "raw", files if bad == "all" else {**files, "good.png": encode(make_image(1))})
    ended = lsr("shard", *of(folder))
    assert ended.code == 3
    for part in (f"{len(REJECTED)} of {len(REJECTED) + (bad == 'most')} images are rejected", "shard.max_rejected"):
        assert part in ended.sentence
    assert recorded(tmp_path / "home" / "store") == []


@pytest.mark.parametrize("name", [*REJECTED, *CHANGED])
def test_one_image_is_rejected_or_taken_before_a_model_is_looked_for(
    lsr: Lsr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What can be read gets as far as the registry, which here cannot be opened."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "./no-database")
    path = filled(tmp_path / "raw", {name: hostile()[name]}) / name
    ended = lsr("upscale", str(path), "--model=m@champion", "--scale=2", "-o", str(tmp_path / "o.png"))
    readable = name in CHANGED or name == "small.png"
    assert ended.code == (2 if readable else 3)
    assert ("MLFLOW_TRACKING_URI" if readable else str(path)) in ended.sentence
    assert not (tmp_path / "o.png").exists()


def test_a_damaged_shard_is_named_by_verify_and_by_the_stage_that_reads_it(
    lsr: Lsr, home: Path, made: tuple[Path, Path, str]
) -> None:
    store = home / "store"
    row = load_manifest(open_store(f"file://{store}"), made[2]).shards[0]
    assert lsr("data", "verify", made[2]).code == 0
    data = bytearray((store / row.path).read_bytes())
    data[len(data) // 2] ^= 1
    (store / row.path).write_bytes(data)
    before = recorded(store)
    verified, tiled = lsr("data", "verify", made[2]), lsr("tile", *of(made[1]))
    for ended in (verified, tiled):
        assert ended.code == 7
        assert row.path in ended.sentence
    assert lsr("data", "verify", made[2], "--json").code == 7
    assert recorded(store) == before


def test_a_lost_shard_is_named_and_made_again(lsr: Lsr, home: Path, made: tuple[Path, Path, str]) -> None:
    store = home / "store"
    row = load_manifest(open_store(f"file://{store}"), made[2]).shards[0]
    os.unlink(store / row.path)
    verified = lsr("data", "verify", made[2])
    assert (verified.code, row.path in verified.sentence) == (7, True)
    tiled = lsr("tile", *of(made[1]))
    assert (tiled.code, "run `lsr shard" in tiled.sentence) == (4, True)
    again = lsr("shard", *of(made[1]), "--json").json
    assert again["made"] is True
    assert again["path"] == made[2]
    assert lsr("data", "verify", made[2]).code == 0
    assert lsr("shard", *of(made[1]), "--json").json["made"] is False


@pytest.mark.parametrize("words", [("data", "verify"), ("data", "show"), ("data", "urls")])
@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        (lambda data: data.replace(b'"format":2', b'"format":1'), 8, "has format 1, this code reads 2"),
        (lambda data: data.replace(b'"parents"', b'"farents"'), 7, "is no root record"),
        (lambda data: b"not json", 7, "not"),
    ],
    ids=["another format", "another field", "no JSON"],
)
def test_a_manifest_that_this_code_cannot_read_is_rejected(
    lsr: Lsr,
    home: Path,
    made: tuple[Path, Path, str],
    words: tuple[str, str],
    change: Callable[[bytes], bytes],
    code: int,
    said: str,
) -> None:
    data = change((home / "store" / made[2]).read_bytes())
    path = f"datasets/mine/{sha256_hex(data)}.json"
    (home / "store" / path).write_bytes(data)
    ended = lsr(*words, path)
    assert ended.code == code
    assert said in ended.sentence
    assert path in ended.sentence


def test_a_manifest_and_a_record_with_changed_bytes_are_rejected(
    lsr: Lsr, home: Path, made: tuple[Path, Path, str]
) -> None:
    manifest = home / "store" / made[2]
    manifest.write_bytes(manifest.read_bytes().replace(b'"mine"', b'"many"'))
    for words in (("data", "verify", made[2]), ("data", "list"), ("tile", *of(made[1])), ("shard", *of(made[1]))):
        ended = lsr(*words)
        assert ended.code == 7
        assert "must have the sha256 in its name" in ended.sentence
    for action in (home / "store" / "actions").iterdir():
        action.write_bytes(action.read_bytes().replace(b'"kind":"images"', b'"kind":"imagos"'))
    ended = lsr("shard", *of(made[1]))
    assert ended.code == 7
    assert "actions/" in ended.sentence


def test_show_counts_a_source_before_it_is_sharded(lsr: Lsr, tmp_path: Path) -> None:
    files = {"a.png": encode(make_image(1)), "b.png": encode(make_image(1)), "z.jpg": b"", "t.txt": b"hello"}
    folder = filled(tmp_path / "raw", {**files, "c.jpg": encode(make_image(2, 40, 90), "JPEG")})
    facts = lsr("data", "show", str(folder), "--json").json
    assert facts["counts"] == {"files": 4, "sound": 3, "rejected": 1, "duplicates": 1}
    assert facts["formats"]["png"]["files"] == 2
    assert facts["sides"]["width"] == {"min": 64, "median": 64, "max": 90}
    assert facts["skipped"] == [{"kind": "rejected", "reason": "It is empty.", "count": 1}]
    assert facts["ignored"] == {"txt": 1}
    assert facts["bytes"] == sum(len(data) for name, data in files.items() if name != "t.txt") + os.path.getsize(
        folder / "c.jpg"
    )


def test_show_draws_a_sheet_of_a_data_set_and_of_a_source(lsr: Lsr, home: Path, made: tuple[Path, Path, str]) -> None:
    for what in (made[2], str(made[1])):
        sheet = home / "sheets" / f"{sha256_hex(what.encode())[:8]}.png"
        ended = lsr("data", "show", what, "--sheet", str(sheet))
        assert ended.code == 0
        assert str(sheet.name)[:6] in ended.out
        drawn = Image.open(sheet)
        drawn.load()
        assert drawn.width == 8 * 132 + 4
        assert len(np.unique(np.asarray(drawn).reshape(-1, 3), axis=0)) > 1000


def test_show_of_nothing_is_rejected(lsr: Lsr, home: Path, tmp_path: Path, made: tuple[Path, Path, str]) -> None:
    empty = filled(tmp_path / "empty", {})
    assert lsr("data", "show", str(empty)).code == 3
    assert lsr("data", "show", str(tmp_path / "nowhere")).code == 4
    assert lsr("data", "show", "datasets/mine/0.json").code == 4
    ended = lsr("data", "show", str(made[1]), "--sheet", str(tmp_path / "sheet.txt"))
    assert (ended.code, "must end in .png, .jpg" in ended.sentence) == (3, True)


def test_verify_takes_a_whole_set_and_says_so(lsr: Lsr, home: Path, made: tuple[Path, Path, str]) -> None:
    assert "every byte agrees" in lsr("data", "verify", made[2]).out
    assert lsr("data", "verify", made[2], "--json").json == {"manifest": made[2], "faults": []}
    assert isinstance(load_manifest(open_store(f"file://{home / 'store'}"), made[2]), Manifest)


def test_a_takedown_request_names_what_holds_the_image_and_can_delete_it(
    lsr: Lsr, home: Path, made: tuple[Path, Path, str]
) -> None:
    found = lsr("data", "forget", "plain.jpg", "--json").json
    assert [entry["path"] for entry in found["holds"]] == [made[2]]
    assert (found["unknown"], found["versions"], len(found["photos"])) == ([], [], 1)
    unknown = lsr("data", "forget", "nobody.png")
    assert unknown.code != 0
    assert "nobody.png" in unknown.sentence
    gone = lsr("data", "forget", found["photos"][0], "--delete", "--json").json["deleted"]
    assert made[2] in gone
    assert not [key for key in gone if (home / "store" / key).exists()]
    assert lsr("data", "list", "--json").json == []


def test_verify_takes_threads_and_continues(lsr: Lsr, home: Path, made: tuple[Path, Path, str]) -> None:
    assert "every byte agrees" in lsr("data", "verify", made[2], "--threads=2", "--resume").out
    assert list((home / "cache" / "verify").iterdir()) == []
