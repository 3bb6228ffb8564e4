"""Raw images to image shards: everything accounted for, the same bytes every time, safe to do again."""

from __future__ import annotations

import io
import json
import multiprocessing
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.assemble import images_manifest
from data_prep.config import ShardConfig, SourceConfig
from data_prep.inspection import Inspected, inspect_items
from data_prep.items import Item
from data_prep.planning import Plan, plan, split_of
from data_prep.shard import build_shard_to_store
from data_prep.sources import list_source
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import InputError, IntegrityError
from lsr.data.manifest import Manifest
from lsr.data.shards import SampleReader
from lsr.data.verify import verify
from lsr.store import open_store
from lsr.store.content import get_blob

from .conftest import encode, hostile, make_image

CONFIG = ShardConfig(max_shard_bytes=40_000)


def make(store_uri: str, root: Path, config: ShardConfig = CONFIG, chunk: int = 5) -> tuple[Manifest, Plan]:
    """The stage as lsr.stages spells it, without Ray."""
    items = list_source(SourceConfig(uri=str(root), name="demo"), root).items
    chunks = [items[i : i + chunk] for i in range(0, len(items), chunk)]
    inspected = [found for part in chunks for found in inspect_items(store_uri, str(root), part, config)]
    planned = plan(inspected, config)
    rows = [build_shard_to_store(store_uri, str(root), images, config) for images in planned.shards]
    store = open_store(store_uri)
    manifest = images_manifest(store, "demo", planned, rows, config)
    store.write(f"{manifest.directory}/{manifest.digest}.json", manifest.to_bytes())
    return manifest, planned


def skipped(store_uri: str, manifest: Manifest) -> list[dict[str, Any]]:
    assert manifest.skipped is not None
    found: list[dict[str, Any]] = pq.read_table(
        io.BytesIO(get_blob(open_store(store_uri), manifest.skipped.path))
    ).to_pylist()
    return found


def test_a_hostile_folder_is_accounted_for_file_by_file(store_uri, folder) -> None:
    files = {f"some folder/ä {name}": data for name, data in hostile().items()}
    files["copy of plain.png"] = files["some folder/ä plain.png"]
    manifest, _ = make(store_uri, folder(files))
    rejected = skipped(store_uri, manifest)
    reader = SampleReader(open_store(store_uri), manifest)
    sources = [reader.row(i).source for i in range(len(reader))]
    assert sorted(sources + [row["source"] for row in rejected]) == sorted(files)
    assert manifest.counts["files"] == len(files)
    assert manifest.counts["rejected"] == 7
    assert manifest.counts["duplicates"] == 1
    assert all(row["reason"] for row in rejected)
    duplicate = next(row for row in rejected if row["kind"] == "duplicate")
    assert duplicate["source"] == "some folder/ä plain.png"
    assert duplicate["reason"] == "The same image as copy of plain.png."
    assert manifest.counts["train"] + manifest.counts["eval"] == len(reader)
    assert verify(open_store(store_uri), manifest) == []


def test_samples_are_original_bytes_with_a_description(store_uri, folder) -> None:
    files = {f"{n}.jpg": encode(make_image(n), "JPEG") for n in range(6)}
    manifest, _ = make(store_uri, folder(files))
    reader = SampleReader(open_store(store_uri), manifest)
    for i in range(len(reader)):
        row, members = reader.row(i), reader.read(i)
        assert members["jpg"] == files[row.source]
        about = json.loads(members["json"])
        assert (about["source"], about["split"]) == (row.source, row.split)
        assert (about["width"], about["height"]) == (row.width, row.height) == (64, 48)
        assert row.key == about["content"][:16]


def test_shards_are_packed_to_the_target_size(store_uri, folder) -> None:
    files = {f"{n}.bmp": encode(make_image(n), "BMP") for n in range(12)} | {
        "9-big.bmp": encode(make_image(99, 200, 200), "BMP")
    }
    manifest, planned = make(store_uri, folder(files))
    assert [row.samples for row in manifest.shards] == [len(shard) for shard in planned.shards]
    assert len(manifest.shards) > 3
    for row, shard in zip(manifest.shards, planned.shards):
        assert row.bytes <= CONFIG.max_shard_bytes + 10240 or len(shard) == 1


def digests_of(arguments: tuple[str, str, int]) -> tuple[str, list[str]]:
    store_uri, root, chunk = arguments
    manifest, _ = make(store_uri, Path(root), chunk=chunk)
    return manifest.digest, [row.sha256 for row in manifest.shards]


def test_shards_and_manifest_are_the_same_bytes_again_and_in_another_process(tmp_path, folder) -> None:
    root = folder(hostile())
    first = digests_of((f"file://{tmp_path}/one", str(root), 5))
    assert digests_of((f"file://{tmp_path}/two", str(root), 1)) == first
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(digests_of, [(f"file://{tmp_path}/three", str(root), 100)]) == [first]


def test_bytes_do_not_change_without_a_new_version(store_uri, folder) -> None:
    """Golden bytes: if this fails on purpose, raise data_prep.shard.VERSION and the stage's version with it."""
    files = {f"photo {n}.ppm": encode(np.full((32, 40, 3), 40 * n, np.uint8), "PPM") for n in range(3)}
    manifest, _ = make(store_uri, folder(files), ShardConfig())
    tar = get_blob(open_store(store_uri), manifest.shards[0].path)
    assert sha256_hex(tar) == "d5259f082dbc18d26d34a537bb8356112dc368c92bde2193110ce2c5d7f99269"


def test_moved_and_touched_files_give_the_same_data_set(tmp_path, store_uri, folder) -> None:
    files = {f"{n}.png": encode(make_image(n)) for n in range(3)}
    first, _ = make(store_uri, folder(files))
    for name, data in files.items():
        (tmp_path / "moved").mkdir(exist_ok=True)
        (tmp_path / "moved" / name).write_bytes(data)
    assert make(store_uri, tmp_path / "moved")[0].digest == first.digest


def test_a_second_run_reads_no_image(store_uri, folder, monkeypatch) -> None:
    root = folder({f"{n}.png": encode(make_image(n)) for n in range(6)})
    first, _ = make(store_uri, root)

    def never(*_: object) -> bytes:
        raise AssertionError("read again")

    for module in ("inspection", "shard"):
        monkeypatch.setattr(f"data_prep.{module}.read_item", never)
    assert make(store_uri, root)[0] == first


@pytest.mark.parametrize("lost", ["path", "index"])
def test_a_lost_blob_is_built_again(store_uri, folder, lost) -> None:
    root = folder({f"{n}.png": encode(make_image(n)) for n in range(6)})
    first, _ = make(store_uri, root)
    store = open_store(store_uri)
    store.delete(getattr(first.shards[0], lost))
    assert make(store_uri, root)[0] == first
    assert verify(store, first) == []


def test_a_file_that_changes_between_inspection_and_building_is_rejected(store_uri, folder) -> None:
    root = folder({"a.png": encode(make_image(1)), "b.png": encode(make_image(2))})
    items = list_source(SourceConfig(uri=str(root), name="demo"), root).items
    inspected = inspect_items(store_uri, str(root), items, CONFIG)
    lied = [replace(inspected[0], sha256="0" * 64), inspected[1]]
    with pytest.raises(InputError, match=r"a\.png in .* changed since it was inspected"):
        build_shard_to_store(store_uri, str(root), plan(lied, CONFIG).shards[0], CONFIG)


def test_a_machine_that_decodes_otherwise_is_found_out(store_uri, folder) -> None:
    root = folder({"a.png": encode(Image.fromarray(make_image(1)).quantize(8))})
    items = list_source(SourceConfig(uri=str(root), name="demo"), root).items
    (found,) = inspect_items(store_uri, str(root), items, CONFIG)
    with pytest.raises(IntegrityError, match="same versions of Pillow"):
        build_shard_to_store(store_uri, str(root), plan([replace(found, content="0" * 64)], CONFIG).shards[0], CONFIG)


def inspected(name: str, content: str, reason: str | None = None, size: int = 1000) -> Inspected:
    return Inspected(Item(name, 1, "mtime_ns:1", name), sha256_hex(name.encode()), reason, content, 64, 48, "png", size)


contents = st.text("0123456789abcdef", min_size=64, max_size=64)


@given(st.lists(contents, max_size=30), st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_inspection(digests, random) -> None:
    files = [inspected(f"{n:03}.png", content) for n, content in enumerate([*digests, *digests[:3], "f" * 64])]
    shuffled = list(files)
    random.shuffle(shuffled)
    config = ShardConfig(max_shard_bytes=4096)
    planned = plan(shuffled, config)
    assert planned == plan(files, config)
    placed = [image for shard in planned.shards for image in shard]
    assert {image.found.content for image in placed} == {file.content for file in files}
    assert len(placed) + len(planned.skipped) == len(files)
    assert [image.found.item.key for image in placed] == sorted(image.found.item.key for image in placed)


@given(st.permutations(range(4)))
def test_names_that_are_spelled_alike_are_told_apart_by_their_paths(order) -> None:
    """Of names that are not UTF-8 and of members that a foreign tar holds under one name."""
    paths = [("a\\xff.png", "a%5Cxff.png", None), ("a\\xff.png", "a%FF.png", None), ("t", "t", 512), ("t", "t", 1024)]
    files = [
        replace(inspected(f"{n}", f"{n}" * 64), item=Item(key, 1, "mtime_ns:1", path, offset))
        for n, (key, path, offset) in enumerate(paths)
    ]
    assert plan([files[n] for n in order], ShardConfig()) == plan(files, ShardConfig())


@given(st.sets(st.text(min_size=1, max_size=9), min_size=1, max_size=9))
def test_a_plan_pins_the_name_and_content_of_every_file_rejected_or_not(names) -> None:
    files = [inspected(name, "a" * 64, None if n % 2 == 0 else "Broken.") for n, name in enumerate(names)]
    pairs = sorted([file.item.key, file.sha256] for file in files)
    assert plan(files, ShardConfig(max_rejected=1.0)).sources == sha256_hex(canonical_json(pairs))


@given(contents, st.floats(0, 1))
def test_an_image_never_changes_sides(content, holdout) -> None:
    config = ShardConfig(holdout=holdout)
    assert split_of(content, config) == split_of(content, replace(config, max_rejected=0.1, min_side=3))
    if split_of(content, config) == "eval":
        assert split_of(content, replace(config, holdout=min(1.0, holdout + 0.1))) == "eval"


def test_the_held_out_fraction_is_as_asked_and_salted() -> None:
    digests = [sha256_hex(bytes([n % 256, n // 256])) for n in range(4000)]
    config = ShardConfig(holdout=0.2)
    held = [split_of(digest, config) for digest in digests]
    assert 0.17 < held.count("eval") / 4000 < 0.23
    assert held != [split_of(digest, replace(config, holdout_salt="other")) for digest in digests]
    assert {split_of(digest, ShardConfig(holdout=0.0)) for digest in digests} == {"train"}
    assert {split_of(digest, ShardConfig(holdout=1.0)) for digest in digests} == {"eval"}
    pinned = {"0": "eval", "1": "train", "2": "train", "3": "train"}
    assert {digit: split_of(digit * 64, config) for digit in pinned} == pinned


def test_too_many_rejections_fail_the_stage_with_numbers_and_reasons() -> None:
    files = [inspected(f"{n}.png", f"{n}" * 64) for n in range(4)]
    bad = [inspected(f"x{n}.png", "", "It is empty.") for n in range(2)]
    assert plan(files + bad, ShardConfig(max_rejected=1 / 3)).counts["rejected"] == 2
    with pytest.raises(InputError, match=r"2 of 6 images are rejected, .* 0.33 of them .*x0\.png: It is empty\."):
        plan(files + bad, ShardConfig(max_rejected=0.33))
    with pytest.raises(InputError, match="2 of 2 images are rejected"):
        plan(bad, ShardConfig(max_rejected=1.0))
    with pytest.raises(InputError, match="0 of 0"):
        plan([], ShardConfig())


def test_two_images_with_one_key_do_not_overwrite_each_other() -> None:
    planned = plan([inspected("a.png", "a" * 64), inspected("b.png", "a" * 16 + "b" * 48)], ShardConfig())
    assert [(file.source, file.kind) for file in planned.skipped] == [("b.png", "rejected")]


def test_a_manifest_must_account_for_every_file(store_uri) -> None:
    planned = plan([inspected("a.png", "a" * 64)], ShardConfig())
    with pytest.raises(IntegrityError, match="Of 1 files, 0 are in shards"):
        images_manifest(open_store(store_uri), "demo", planned, [], ShardConfig())


def test_our_tars_open_with_the_system_library(store_uri, folder) -> None:
    manifest, _ = make(store_uri, folder(hostile()))
    for row in manifest.shards:
        with tarfile.open(fileobj=io.BytesIO(get_blob(open_store(store_uri), row.path))) as tar:
            names = [member.name for member in tar]
        assert len(names) == 2 * row.samples
        assert names == [
            name for key in dict.fromkeys(n[:16] for n in names) for name in sorted(n for n in names if key in n)
        ]
