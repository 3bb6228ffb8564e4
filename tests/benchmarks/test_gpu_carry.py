"""Files that carry a study between machines: size rules, damage, places; weights as bfloat16 parts."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest
import torch

from benchmarks.gpu.carry import HEAD, MIB, read, unpack, write_parts
from benchmarks.gpu.weights import INDEX, read_weights, write_weights
from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import InputError, IntegrityError
from lsr.core.settings import Settings, load_settings
from lsr.store import open_store

FACTS = {"study": "one"}


def written(folder: Path, members: dict[str, bytes], *, limit: int = MIB, parts: int = 1) -> list[Path]:
    return write_parts(folder, "carried", members, FACTS, limit=limit, parts=parts, lower="tile.max_per_image")


def settings_at(home: Path) -> Settings:
    return load_settings({"LSR_HOME": str(home)})


def test_members_go_where_they_belong_and_equal_members_give_equal_files(tmp_path: Path) -> None:
    members = {
        "store/blobs/a.tar": b"a" * 700,
        "cache/sets/lpips/x": b"x",
        "output/one/table.md": b"| |",
        "store/e": b"",
    }
    (path,) = written(tmp_path / "a", members)
    assert path.read_bytes() == written(tmp_path / "b", members)[0].read_bytes()
    there = settings_at(tmp_path / "home")
    assert unpack(path, there) == FACTS
    assert open_store(there.store).read("blobs/a.tar") == b"a" * 700
    assert open_store(there.store).read("e") == b""
    assert (there.cache / "sets/lpips/x").read_bytes() == b"x"
    assert (there.output / "one/table.md").read_bytes() == b"| |"
    assert unpack(path, there) == FACTS, "unpacking twice is fine"


def test_what_is_too_large_is_rejected_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"takes 1\.\d MiB.*at most 1 file.*of 1 MiB.*Lower tile.max_per_image"):
        written(tmp_path / "out", {"store/a": bytes(MIB)})
    assert not (tmp_path / "out").exists()
    members = {f"store/{i}": bytes([i]) * (MIB // 3) for i in range(5)}
    with pytest.raises(InputError, match="at most 2 file"):
        written(tmp_path / "out", members, parts=2)
    paths = written(tmp_path / "out", members, parts=3)
    assert len(paths) == 3
    assert all(path.stat().st_size <= MIB for path in paths)
    found = {name: data for path in paths for name, data in read(path)[1].items()}
    assert found == members


def test_many_small_members_stay_below_the_limit(tmp_path: Path) -> None:
    members = {f"store/blobs/{i:064d}.png": b"1" for i in range(1500)}
    paths = written(tmp_path, members, parts=9)
    assert len(paths) > 1
    assert all(path.stat().st_size <= MIB for path in paths)


def test_a_flipped_byte_and_a_short_file_are_found_and_nothing_is_unpacked(tmp_path: Path) -> None:
    members = {"store/a": b"a" * 600, "store/b": b"b" * 600}
    (path,) = written(tmp_path, members)
    whole = path.read_bytes()
    there = settings_at(tmp_path / "home")
    places = [whole.index(b"a" * 600) + 300, whole.rindex(b"b") - 1, whole.index(b'"one"') + 1, whole.index(b"store/b")]
    for place in places:
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(IntegrityError, match="copy it again"):
            unpack(path, there)
    for length in (0, 100, whole.rindex(b"b"), whole.index(b"a" * 600)):
        path.write_bytes(whole[:length])
        with pytest.raises(IntegrityError, match="copy it again"):
            unpack(path, there)
    assert not there.home.exists()


@pytest.mark.parametrize("name", ["store/../../evil", "store//etc/passwd", "/etc/passwd", "home/x", "cache/a/../../x"])
def test_a_member_that_would_lie_elsewhere_is_rejected(tmp_path: Path, name: str) -> None:
    digests = {"store/sound": sha256_hex(b"1"), name: sha256_hex(b"2")}
    seal = sha256_hex(canonical_json([digests, FACTS]))
    head = canonical_json({"format": 1, "facts": FACTS, "members": digests, "seal": seal})
    path = tmp_path / "forged.tar"
    with tarfile.open(path, "w") as archive:
        for member, data in ((HEAD, head), ("store/sound", b"1"), (name, b"2")):
            entry = tarfile.TarInfo(member)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    there = settings_at(tmp_path / "home")
    with pytest.raises(InputError):
        unpack(path, there)
    assert not there.home.exists()
    assert not (tmp_path / "evil").exists()


def test_links_in_a_carried_file_are_rejected(tmp_path: Path) -> None:
    path = tmp_path / "link.tar"
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("store/a")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    with pytest.raises(IntegrityError, match="not a plain file"):
        read(path)


def test_weights_travel_as_bfloat16_in_parts(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {f"w{i}": torch.randn(100, 40, generator=generator) for i in range(6)} | {"count": torch.tensor(7)}
    limit = 20_000
    paths = write_weights(tmp_path, tensors, {"system": "ours"}, limit)
    assert all(path.stat().st_size <= limit for path in paths[1:])
    assert len(paths) - 1 >= 3
    index, found = read_weights(tmp_path)
    assert index["system"] == "ours"
    assert [part["bytes"] for part in index["parts"]] == [path.stat().st_size for path in paths[1:]]
    assert found.keys() == tensors.keys()
    assert found["count"].dtype == torch.int64
    for name in ("w0", "w5"):
        assert found[name].dtype == torch.float32
        # bfloat16 keeps 8 significant bits: rounding errs by at most 2^-8 of the value.
        assert torch.all((found[name] - tensors[name]).abs() <= tensors[name].abs() * 2**-8)
        assert not torch.equal(found[name], tensors[name])
    with pytest.raises(InputError, match="Tensor large takes"):
        write_weights(tmp_path / "other", {"large": torch.zeros(20_000)}, {}, limit)
    data = bytearray(paths[1].read_bytes())
    data[-1] ^= 1
    paths[1].write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="part-0"):
        read_weights(tmp_path)
    assert json.loads((tmp_path / INDEX).read_text())["type"] == "bfloat16"
