"""A registry in a folder: fake clients on PATH serve archives made by the test, and a catalogue names them."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from PIL import Image

from lsr.assets import folders
from lsr.assets.catalog import NamedSet, Package, Source


def png(colour: str, size: tuple[int, int] = (8, 6)) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "PNG")
    return buffer.getvalue()


def tgz(files: Mapping[str, bytes], path: Path) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.fixture
def clients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH holds this folder and the system's basic tools only; no npm and no apt-get until a test puts one there."""
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    for tool in ("cp", "sh"):
        os.symlink(f"/bin/{tool}", bin_folder / tool)
    monkeypatch.setenv("PATH", str(bin_folder))
    return bin_folder


@pytest.fixture
def fake_npm(clients: Path) -> Callable[[str], None]:
    def write(body: str) -> None:
        script = clients / "npm"
        script.write_text(f"#!/bin/sh\n{body}\n")
        script.chmod(0o755)

    return write


@pytest.fixture
def toy_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fake_npm: Callable[[str], None]) -> NamedSet:
    """The set `toy`: two images of an npm package that the fake client serves."""
    (tmp_path / "served").mkdir()
    files = {"package/a.png": png("red"), "package/more/b.png": png("blue"), "package/drawing.png": png("white")}
    archive = tgz(files, tmp_path / "served" / "toy-images-1.0.0.tgz")
    package = Package(
        client="npm",
        name="toy-images",
        version="1.0.0",
        archive=archive.name,
        sha256=hashlib.sha256(archive.read_bytes()).hexdigest(),
        bytes=archive.stat().st_size,
        terms="CC0-1.0",
    )
    source = Source(package=package, root="package/", names=("a.png", "more/*.png"), prefix="toy-")
    spec = NamedSet(name="toy", description="Toys.", licence="CC0-1.0", images=2, make="copy", sources=(source,))
    monkeypatch.setattr(folders, "SETS", (spec,))
    fake_npm(f'cp "{archive}" .')
    return spec
