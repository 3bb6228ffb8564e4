"""The perceptual hash against its textbook form, and near pairs against comparing all with all."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance

from data_prep.config import ShardConfig, SourceConfig
from data_prep.inspection import inspect_items
from data_prep.likeness import phash_of, reached
from data_prep.planning import plan
from data_prep.sources import list_source, source_root
from lsr.core.canonical import sha256_hex

from .test_shard import inspected
from .test_sources import listed


def photos(tmp_path) -> list[Image.Image]:
    root = source_root("set:photos", tmp_path)
    items = list_source(SourceConfig(uri="set:photos", name="p"), tmp_path).items
    return [Image.open(f"{root}/{item.key}").convert("RGB") for item in items]


def bits_apart(a: str, b: str) -> int:
    return (int(a, 16) ^ int(b, 16)).bit_count()


def test_the_bits_are_those_of_a_float64_cosine_transform(tmp_path) -> None:
    from scipy.fft import dctn

    for image in photos(tmp_path)[:6]:
        small = np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BOX), dtype=float)
        terms = dctn(small, type=2)[:8, :8].ravel()
        # scipy's unnormalised terms are twice the sum along each axis, the same for all.
        bits = terms > np.median(terms[1:])
        bits[0] = False
        expected = int("".join("1" if bit else "0" for bit in bits), 2)
        assert (int(phash_of(image), 16) ^ expected).bit_count() <= 1


def test_copies_of_a_photo_are_near_and_other_photos_are_not(tmp_path) -> None:
    images = photos(tmp_path)
    hashes = [phash_of(image) for image in images]
    for image, phash in zip(images, hashes):
        out = io.BytesIO()
        image.resize((image.width * 3 // 4, image.height * 3 // 4), Image.Resampling.LANCZOS).save(
            out, "JPEG", quality=60
        )
        brighter = ImageEnhance.Brightness(image).enhance(0.9)
        assert bits_apart(phash, phash_of(Image.open(out))) <= 4
        assert bits_apart(phash, phash_of(brighter)) <= 6
    apart = [bits_apart(a, b) for n, a in enumerate(hashes) for b in hashes[:n]]
    assert min(apart) > 10
    assert 28 < np.mean(apart) < 34


def brute(hashes: list[int], held: list[bool], distance: int) -> list[bool]:
    outside = [i for i, is_held in enumerate(held) if not is_held]
    moved: set[int] = set()
    while outside:
        other = outside.pop()
        near = [
            i
            for i in range(len(hashes))
            if held[i] and i not in moved and (hashes[i] ^ hashes[other]).bit_count() <= distance
        ]
        moved |= set(near)
        outside += near
    return [i in moved for i in range(len(hashes))]


@given(st.integers(0, 2**32), st.integers(0, 10), st.integers(0, 60))
def test_near_pairs_are_those_of_comparing_all_with_all(seed: int, distance: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.integers(0, 2**63, 4, dtype=np.uint64)
    flips = np.bitwise_or.reduce(np.uint64(1) << rng.integers(0, 64, (count, 6), dtype=np.uint64), axis=1)
    hashes = centres[rng.integers(0, 4, count)] ^ flips
    held = rng.random(count) < 0.6
    found = reached(hashes, held, distance)
    assert found.tolist() == brute([int(v) for v in hashes], held.tolist(), distance)


def test_many_equal_hashes_are_compared_in_bounded_pieces(monkeypatch) -> None:
    monkeypatch.setattr("data_prep.likeness.PAIRS_AT_ONCE", 50)
    hashes = np.zeros(400, dtype=np.uint64)
    held = np.arange(400) % 2 == 0
    assert reached(hashes, held, 3).sum() == 200
    assert not reached(hashes, np.ones(400, dtype=bool), 3).any()


def test_near_duplicates_go_to_training_and_the_rest_stays(folder, store_uri, tmp_path) -> None:
    images = photos(tmp_path)[:8]
    files = {}
    for number, image in enumerate(images):
        for quality in (40, 90):
            out = io.BytesIO()
            image.save(out, "JPEG", quality=quality)
            files[f"{number}-{quality}.jpg"] = out.getvalue()
    root = folder(files)
    config = ShardConfig(holdout=0.5, near_duplicates=4)
    planned, without = (
        plan(inspect_items(store_uri, str(root), listed(root).items, c), c)
        for c in (config, replace(config, near_duplicates=None))
    )
    sides = [{i.found.item.key: i.split for shard in p.shards for i in shard} for p in (planned, without)]
    split_pairs = [n for n in range(8) if sides[1][f"{n}-40.jpg"] != sides[1][f"{n}-90.jpg"]]
    assert split_pairs
    assert planned.counts["near_duplicates"] == len(split_pairs)
    for n in range(8):
        expected = "train" if n in split_pairs else sides[1][f"{n}-40.jpg"]
        assert {sides[0][f"{n}-{q}.jpg"] for q in (40, 90)} == {expected}
    assert "near_duplicates" not in without.counts


@pytest.mark.parametrize("distance", [0, 4])
def test_the_split_does_not_depend_on_the_order(distance: int) -> None:
    config = ShardConfig(holdout=0.5, near_duplicates=distance)
    files = [replace(inspected(f"{n}.png", sha256_hex(bytes([n]))), phash=f"{n % 7:016x}") for n in range(40)]
    assert plan(files[::-1], config) == plan(files, config)
