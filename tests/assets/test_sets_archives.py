"""Reading files out of packages: formats, and archives that want to write somewhere or are not whole."""

from __future__ import annotations

import io
import tarfile
import zipfile
from pathlib import Path

import pytest

from lsr.assets import archives
from lsr.assets.archives import read_members
from lsr.core.errors import IntegrityError

FILES = {"package/a.jpg": b"A" * 700, "package/b/c.png": b"C" * 10, "package/index.js": b"code"}


def tar_bytes(files: dict[str, bytes], mode: str, links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
        for name, target in (links or {}).items():
            member = tarfile.TarInfo(name)
            member.type, member.linkname = tarfile.SYMTYPE, target
            tar.addfile(member)
    return buffer.getvalue()


def write_tgz(path: Path, files: dict[str, bytes], links: dict[str, str] | None = None) -> Path:
    path.write_bytes(tar_bytes(files, "w:gz", links))
    return path


def write_deb(path: Path, files: dict[str, bytes]) -> Path:
    """A Debian package by its format: an ar archive of debian-binary, control.tar.xz and data.tar.xz."""
    members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": tar_bytes(files, "w:xz")}
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}`\n".encode() + data + b"\n" * (len(data) % 2)
    path.write_bytes(out)
    return path


def test_only_the_asked_files_are_read_from_an_npm_tarball(tmp_path: Path) -> None:
    path = write_tgz(tmp_path / "p.tgz", FILES)
    assert dict(read_members(path, ["package/a.jpg", "package/b/*.png"])) == {
        "package/a.jpg": b"A" * 700,
        "package/b/c.png": b"C" * 10,
    }


def test_debian_packages_are_read_without_dpkg(tmp_path: Path) -> None:
    path = write_deb(tmp_path / "p.deb", {"./usr/share/x.jpg": b"X" * 9})
    assert dict(read_members(path, ["usr/share/x.jpg"])) == {"usr/share/x.jpg": b"X" * 9}


def write_wheel(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, data in files.items():
            wheel.writestr(name, data)
    return path


def test_only_the_asked_files_are_read_from_a_wheel(tmp_path: Path) -> None:
    path = write_wheel(tmp_path / "p.whl", FILES)
    assert dict(read_members(path, ["package/b/*"])) == {"package/b/c.png": b"C" * 10}
    with pytest.raises(IntegrityError, match=r"must hold package/d\.jpg; it does not"):
        list(read_members(path, ["package/d.jpg"]))


def test_an_unsound_wheel_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_wheel(tmp_path / "p.whl", {"../outside.jpg": b"evil", **FILES})
    with pytest.raises(IntegrityError, match="leads outside; it was not unpacked"):
        list(read_members(path, ["*"]))
    path = write_wheel(tmp_path / "p.whl", FILES)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(IntegrityError, match="cannot be read as an archive"):
        list(read_members(path, ["*"]))
    broken = bytearray(whole)
    broken[whole.index(b"package/a.jpg") + 15] ^= 255
    path.write_bytes(bytes(broken))
    with pytest.raises(IntegrityError, match="cannot be read as an archive"):
        list(read_members(path, ["*"]))
    path.write_bytes(whole)
    monkeypatch.setattr(archives, "MAX_MEMBER", 500)
    with pytest.raises(IntegrityError, match="must hold files of at most 500"):
        list(read_members(path, ["*"]))


@pytest.mark.parametrize("evil", ["../outside.jpg", "package/../../outside.jpg", "/etc/outside.jpg"])
def test_an_archive_with_a_path_that_leads_outside_is_rejected(tmp_path: Path, evil: str) -> None:
    path = write_tgz(tmp_path / "p.tgz", {evil: b"evil", **FILES})
    with pytest.raises(IntegrityError, match="leads outside; it was not unpacked"):
        list(read_members(path, ["*"]))


def test_a_link_in_place_of_a_file_is_rejected(tmp_path: Path) -> None:
    path = write_tgz(tmp_path / "p.tgz", FILES, links={"package/d.jpg": "/etc/passwd"})
    with pytest.raises(IntegrityError, match=r"package/d\.jpg must be a plain file, found a link"):
        list(read_members(path, ["package/d.jpg"]))


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    path = write_tgz(tmp_path / "p.tgz", FILES)
    with pytest.raises(IntegrityError, match=r"p\.tgz must hold package/z\.jpg; it does not"):
        list(read_members(path, ["package/a.jpg", "package/z.jpg"]))


def test_too_large_files_are_rejected_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "MAX_MEMBER", 699)
    with pytest.raises(IntegrityError, match="at most 699"):
        list(read_members(write_tgz(tmp_path / "p.tgz", FILES), ["package/a.jpg"]))
    monkeypatch.setattr(archives, "MAX_MEMBER", 1000)
    monkeypatch.setattr(archives, "MAX_TOTAL", 705)
    with pytest.raises(IntegrityError, match="705 bytes in all"):
        list(read_members(write_tgz(tmp_path / "p.tgz", FILES), ["package/a.jpg"]))


@pytest.mark.parametrize("name", ["p.tgz", "p.deb"])
def test_truncated_and_foreign_files_are_rejected(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    whole = (write_deb if name.endswith("deb") else write_tgz)(path, FILES).read_bytes()
    for broken in (whole[: len(whole) // 2], b"<html>404</html>" * 9, b""):
        path.write_bytes(broken)
        with pytest.raises(IntegrityError, match=name):
            list(read_members(path, ["package/a.jpg", "package/b/c.png"]))
