"""The images that ship with the project: all there, small, credited, on terms that allow it."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from PIL import Image

from lsr.assets import available, resolve
from lsr.assets.bundled import IMAGES, BundledImage
from lsr.assets.make_bundled import credits

FREE = {"CC0-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "public domain"}
NO_CACHE = Path("/nowhere")
FOLDERS = ("photos", "thumbnails")


@pytest.mark.parametrize("name", FOLDERS)
def test_the_folder_holds_exactly_the_listed_images_and_their_credits(name: str) -> None:
    folder = resolve(name, NO_CACHE)
    listed = {entry.file for entry in IMAGES if entry.folder == name}
    assert {path.name for path in folder.iterdir()} == listed | {"CREDITS.md"}
    assert (folder / "CREDITS.md").read_text(encoding="utf-8") == credits(name)
    assert {info.name: info.images for info in available()}[name] == len(listed)


@pytest.mark.parametrize("entry", IMAGES, ids=lambda entry: entry.file)
def test_every_image_is_free_credited_upright_and_bare(entry: BundledImage) -> None:
    assert entry.licence in FREE
    assert entry.author
    assert entry.evidence
    with Image.open(resolve(entry.folder, NO_CACHE) / entry.file) as image:
        image.load()
        assert image.mode in ("RGB", "L")
        assert max(image.size) <= entry.side
        assert min(image.size) >= 48
        assert not image.getexif()
        assert "icc_profile" not in image.info


def test_together_they_stay_below_six_megabytes() -> None:
    assert sum(info.bytes for info in available() if info.name in FOLDERS) < 6e6


def test_no_image_is_there_twice_and_thumbnails_show_other_photos() -> None:
    sources = [(entry.package.name, entry.path) for entry in IMAGES]
    assert len(set(sources)) == len(sources)
    digests = [hashlib.sha256((resolve(p.folder, NO_CACHE) / p.file).read_bytes()).digest() for p in IMAGES]
    assert len(set(digests)) == len(digests)
