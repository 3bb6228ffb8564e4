"""`available`, `resolve`, `get`: what is on disk, what is fetched, and what every failure says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from lsr.assets import available, folders, get, resolve
from lsr.assets.catalog import SETS, NamedSet
from lsr.assets.make import make
from lsr.core.errors import IntegrityError, NotFoundError

FakeNpm = Callable[[str], None]


def test_every_set_says_its_licence_its_size_and_where_it_comes_from() -> None:
    infos = {info.name: info for info in available()}
    assert {"photos", "thumbnails", "web-photos", "faces", "cifar10", "lpips"} <= set(infos)
    assert all(info.licence and info.source and info.bytes > 0 for info in infos.values())
    assert infos["web-photos"].images == 108
    assert infos["lpips"].images == 0


def test_catalogue_pins_every_package_and_names_no_file_twice() -> None:
    for spec in SETS:
        for source in spec.sources:
            assert len(source.package.sha256) == 64
            assert len(set(source.names)) == len(source.names)
        if spec.make == "copy":
            assert sum(len(source.names) for source in spec.sources) == spec.images
        prefixes = [source.prefix for source in spec.sources]
        assert len(set(prefixes)) == len(prefixes)


def test_an_unknown_name_is_answered_with_what_there_is(tmp_path: Path) -> None:
    for question in (resolve, get):
        with pytest.raises(NotFoundError, match=r"no set 'div2k'; there are photos, thumbnails, web-photos, faces"):
            question("div2k", tmp_path)


def test_resolve_never_downloads_and_says_how_to(tmp_path: Path, toy_set: NamedSet) -> None:
    with pytest.raises(NotFoundError, match=r"run `lsr data get toy`"):
        resolve("toy", tmp_path)


def test_get_keeps_the_listed_files_only_and_writes_their_credits(tmp_path: Path, toy_set: NamedSet) -> None:
    folder = get("toy", tmp_path / "cache")
    assert folder == resolve("toy", tmp_path / "cache")
    assert sorted(path.name for path in folder.iterdir()) == ["CREDITS.md", "toy-a.png", "toy-more-b.png"]
    assert toy_set.sources[0].package.sha256 in (folder / "CREDITS.md").read_text()
    assert [path.name for path in folder.parent.iterdir()] == ["toy"]


def test_a_second_get_needs_no_client(tmp_path: Path, toy_set: NamedSet, fake_npm: FakeNpm) -> None:
    first = get("toy", tmp_path)
    fake_npm("exit 1")
    assert get("toy", tmp_path) == first


def test_a_set_made_from_other_pins_is_made_again(
    tmp_path: Path, toy_set: NamedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = get("toy", tmp_path)
    (folder / "toy-a.png").write_bytes(b"from an older release")
    monkeypatch.setattr(folders, "SETS", (replace(toy_set, licence="CC-BY-4.0"),))
    with pytest.raises(NotFoundError, match="not on this machine"):
        resolve("toy", tmp_path)
    assert get("toy", tmp_path) == folder
    assert (folder / "toy-a.png").read_bytes() != b"from an older release"


def test_other_bytes_than_the_pinned_ones_are_rejected_naming_the_package(
    tmp_path: Path, toy_set: NamedSet, fake_npm: FakeNpm
) -> None:
    fake_npm("echo replaced > toy-images-1.0.0.tgz")
    with pytest.raises(IntegrityError, match=r"npm package toy-images 1\.0\.0 must have sha256 .* not unpacked"):
        get("toy", tmp_path)
    assert list((tmp_path / "sets").iterdir()) == []


def test_a_missing_client_is_named_with_the_way_out(tmp_path: Path, toy_set: NamedSet, clients: Path) -> None:
    (clients / "npm").unlink()
    with pytest.raises(NotFoundError, match=r"toy-images 1\.0\.0 is fetched with npm, which is not on this machine"):
        get("toy", tmp_path)


def test_a_failing_client_is_quoted_without_credentials(tmp_path: Path, toy_set: NamedSet, fake_npm: FakeNpm) -> None:
    fake_npm('echo "npm error 404 at https://me:hunter2@registry.invalid/toy" >&2; exit 1')
    with pytest.raises(NotFoundError, match=r"could not be fetched: npm error 404 .* check the network") as caught:
        get("toy", tmp_path)
    assert "hunter2" not in str(caught.value)


def test_a_client_that_leaves_something_else_is_not_believed(
    tmp_path: Path, toy_set: NamedSet, fake_npm: FakeNpm
) -> None:
    fake_npm("echo > toy-images-2.0.0.tgz")
    with pytest.raises(NotFoundError, match=r"must leave toy-images-1\.0\.0\.tgz, found toy-images-2\.0\.0\.tgz"):
        get("toy", tmp_path)


def test_a_package_that_lacks_a_promised_image_makes_no_set(
    tmp_path: Path, toy_set: NamedSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "SETS", (replace(toy_set, images=3),))
    with pytest.raises(IntegrityError, match="Set toy must have 3 images, found 2"):
        get("toy", tmp_path)
    with pytest.raises(NotFoundError):
        resolve("toy", tmp_path)


def test_of_two_makers_at_once_the_second_adopts_the_firsts_folder(tmp_path: Path, toy_set: NamedSet) -> None:
    first = get("toy", tmp_path)
    late = tmp_path / "late"
    late.mkdir()
    archive = toy_set.sources[0].package.archive
    make(toy_set, {archive: tmp_path / "served" / archive}, late)
    folders._publish(late, first, toy_set)
    assert sorted(path.name for path in first.iterdir()) == ["CREDITS.md", "toy-a.png", "toy-more-b.png"]
