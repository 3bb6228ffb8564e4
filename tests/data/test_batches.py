"""The training source: lanes are a pure function of (data set, order, step, lane), however they are asked for."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from lsr.core.errors import ConfigError, InputError, IntegrityError
from lsr.data.batches import LatentSource, TileSource
from lsr.data.order import SampleOrder
from lsr.data.prefetch import Prefetcher
from lsr.data.shards import SampleReader

from .conftest import COUNTS, SIDE, Sets, make_set, npy, png, sample

LR = "abcdefabcdef"


def order_of(sets: Sets) -> SampleOrder:
    return SampleOrder([row.samples for row in sets.tiles.shards], sets.tiles.digest, 3, 2)


def tile_source(sets: Sets, lanes: int = 2) -> TileSource:
    return TileSource(SampleReader(sets.store, sets.tiles), order_of(sets), batch=4, lanes=lanes)


def latent_source(sets: Sets, with_tiles: bool = True, **expected: str) -> LatentSource:
    tiles = SampleReader(sets.store, sets.tiles) if with_tiles else None
    asked = {"encoder": "enc", "whitening": "white", "degradation": LR} | expected
    return LatentSource(SampleReader(sets.store, sets.latents), tiles, order_of(sets), batch=4, lanes=2, **asked)


def owner(index: int) -> int:
    """The shard that holds the sample."""
    return int(np.searchsorted(np.cumsum(COUNTS), index, side="right"))


def pixels(n: int) -> Tensor:
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(png(n)))).copy()).permute(2, 0, 1)


def test_a_lane_is_its_part_of_the_global_batch(sets: Sets) -> None:
    source, order = tile_source(sets), order_of(sets)
    for step in range(5):
        for lane in range(2):
            found = source.lane(step, lane)
            positions = [step * 4 + lane * 2, step * 4 + lane * 2 + 1]
            assert found["position"].tolist() == positions
            assert found["position"].dtype == torch.int64
            assert found["tile"].dtype == torch.uint8
            assert torch.equal(found["tile"], torch.stack([pixels(order.at(p)) for p in positions]))
    source.close()


def test_lanes_do_not_depend_on_who_asks_in_which_order(sets: Sets) -> None:
    """One rank with all lanes, two ranks with one each, a resumed rank: the same bytes."""
    asked = [(step, lane) for step in range(4) for lane in range(4)]
    patterns = [asked, asked[::-1], [a for a in asked if a[1] % 2], asked[7:], [(3, 1), (0, 2), (3, 1)]]
    reference: dict[tuple[int, int], Tensor] = {}
    for pattern in patterns:
        source = tile_source(sets, lanes=4)
        for key in pattern:
            tile = source.lane(*key)["tile"]
            assert torch.equal(reference.setdefault(key, tile), tile)
        source.close()


def test_latents_come_raw_and_beside_their_own_tile(sets: Sets) -> None:
    source, order = latent_source(sets), order_of(sets)
    for step in range(6):
        found = source.lane(step, 1)
        numbers = [order.at(p) for p in found["position"].tolist()]
        values = torch.tensor(numbers, dtype=torch.float32)[:, None, None, None].expand(2, 2, 2, 2)
        assert found["hr_mean"].dtype == torch.float32
        assert torch.equal(found["hr_mean"], values)
        assert torch.equal(found["hr_std"], values + 100)
        assert torch.equal(found["lr"], -values)
        assert torch.equal(found["tile"], torch.stack([pixels(n) for n in numbers]))
    source.close()


def test_pixels_and_condition_are_read_only_where_asked_for(sets: Sets) -> None:
    tiles = SampleReader(sets.store, sets.tiles)
    source = LatentSource(
        SampleReader(sets.store, sets.latents), None, order_of(sets), 4, 2, encoder="enc", whitening="white"
    )
    assert set(source.lane(0, 0)) == {"position", "hr_mean", "hr_std"}
    source.close()
    tiles.close()


@pytest.mark.parametrize(
    ("expected", "error", "says"),
    [
        ({"encoder": "other"}, IntegrityError, "made with encoder 'enc', and this model has 'other'"),
        ({"whitening": "other"}, IntegrityError, "made with whitening 'white', and this model has 'other'"),
        ({"degradation": "0" * 12}, InputError, "hold the degradations .'abcdefabcdef'., not '000000000000'"),
    ],
)
def test_latents_of_another_encoder_whitening_or_degradation_are_refused(sets, expected, error, says) -> None:
    with pytest.raises(error, match=says):
        latent_source(sets, **expected)


def test_latents_of_other_tiles_are_refused(sets: Sets) -> None:
    other = make_set(sets.store, "tiles", [[sample(f"t{n}", {"png": png(50 + n)}) for n in range(12)]], {}, {})
    with pytest.raises(IntegrityError, match="made from tile set"):
        LatentSource(
            SampleReader(sets.store, sets.latents),
            SampleReader(sets.store, other),
            order_of(sets),
            4,
            2,
            encoder="enc",
            whitening="white",
        )


def test_a_latent_beside_another_tile_is_refused_by_its_key(sets: Sets) -> None:
    keys = [[f"x{i}-{n}" for n in range(count)] for i, count in enumerate(COUNTS)]
    shards = [[sample(key, {"hr.npy": npy(0)}) for key in shard] for shard in keys]
    extra = {"encoder": "enc", "whitening": "white"}
    latents = make_set(sets.store, "latents", shards, {"tiles": sets.tiles.digest}, extra)
    readers = SampleReader(sets.store, latents), SampleReader(sets.store, sets.tiles)
    source = LatentSource(*readers, order_of(sets), 4, 2, encoder="enc", whitening="white")
    with pytest.raises(IntegrityError, match=r"Sample x.* does not match Sample 0000"):
        source.lane(0, 0)
    source.close()


def saved(array: np.ndarray) -> bytes:
    """The `.npy` file of an array, whatever it holds."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


BROKEN_LATENTS = {
    "a pickle": saved(np.array([{}], dtype=object)),
    "a latent cut short": npy(0)[:-2],
    "a header cut short": npy(0)[:40],
    "no bytes": b"",
    "a header that no tokeniser reads": npy(0).replace(b"), }", b"(, }"),
    "columns first": saved(np.asfortranarray(np.ones((2, 3, 3), np.float16))),
}


@pytest.mark.parametrize("broken", ["not a picture", "another size", *BROKEN_LATENTS])
def test_a_sample_that_cannot_be_used_is_named(sets: Sets, broken: str) -> None:
    bad = {"not a picture": b"text", "another size": png(0, 9)}.get(broken, png(0))
    shard = [sample("good", {"png": png(1)}), sample("bad", {"png": bad})]
    manifest = make_set(sets.store, "tiles", [shard], {}, {})
    reader: SampleReader = SampleReader(sets.store, manifest)
    source: TileSource | LatentSource = TileSource(reader, SampleOrder([2], "d", 0, 1), 2, 1)
    if broken in BROKEN_LATENTS:
        shard = [sample("good", {"hr.npy": npy(0)}), sample("bad", {"hr.npy": BROKEN_LATENTS[broken]})]
        extra = {"encoder": "e", "whitening": "w"}
        manifest = make_set(sets.store, "latents", [shard], {"tiles": "t"}, extra)
        reader = SampleReader(sets.store, manifest)
        source = LatentSource(reader, None, SampleOrder([2], "d", 0, 1), 2, 1, encoder="e", whitening="w")
    with pytest.raises(IntegrityError, match=f"Sample (bad|good) of .*{manifest.shards[0].sha256}"):
        source.lane(0, 0)
    source.close()


def test_a_corrupt_shard_reaches_the_caller_from_the_thread(sets: Sets) -> None:
    order = order_of(sets)
    first = set(order.batch(0, 4))
    later = next(p for p in range(4, 12) if all(owner(order.at(p)) != owner(n) for n in first))
    row = sets.tiles.shards[owner(order.at(later))]
    path = Path(sets.store.uri.removeprefix("file://")) / row.path
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    source = tile_source(sets, lanes=1)
    source.lane(0, 0)

    def read_on() -> None:
        source.lane(later // 4, 0)
        source.settle()

    with pytest.raises(IntegrityError, match=f"{row.sha256}.tar is corrupt"):
        read_on()
    source.close()


def test_a_shard_cut_short_while_it_is_open_is_an_error_and_not_the_end_of_the_process(sets: Sets) -> None:
    reader = SampleReader(sets.store, sets.tiles)
    reader.read(0)
    path = Path(sets.store.uri.removeprefix("file://")) / sets.tiles.shards[0].path
    path.write_bytes(path.read_bytes()[:1500])
    with pytest.raises(IntegrityError, match=f"{sets.tiles.shards[0].sha256}.tar ends inside"):
        reader.read(4)


def test_a_source_is_closed_once_and_for_all(sets: Sets) -> None:
    source = tile_source(sets)
    source.lane(0, 0)
    source.close()
    source.close()
    with pytest.raises(InputError, match="closed"):
        source.lane(0, 1)


def test_impossible_lanes_and_sets_are_refused(sets: Sets) -> None:
    reader = SampleReader(sets.store, sets.tiles)
    with pytest.raises(ConfigError, match="found batch 4 and lanes 3"):
        TileSource(reader, order_of(sets), 4, 3)
    with pytest.raises(IntegrityError, match="for 13 samples, but data set demo has 12"):
        TileSource(reader, SampleOrder([13], "d", 0, 1), 4, 2)
    with pytest.raises(InputError, match="must be of kind 'tiles', found 'latents'"):
        TileSource(SampleReader(sets.store, sets.latents), order_of(sets), 4, 2)
    source = tile_source(sets)
    with pytest.raises(InputError, match="Lanes are 0 to 1"):
        source.lane(0, 2)
    source.close()


def test_the_thread_works_ahead_for_the_lanes_of_this_rank() -> None:
    made: list[tuple[int, int, str]] = []
    done = threading.Event()

    def make(step: int, lane: int) -> dict[str, Tensor]:
        made.append((step, lane, threading.current_thread().name))
        if len(made) == 6:
            done.set()
        return {}

    prefetcher = Prefetcher(make, ahead=4)
    prefetcher.get(0, 1)
    prefetcher.get(0, 3)
    assert done.wait(10)
    prefetcher.close()
    assert {m[:2] for m in made} >= {(0, 1), (0, 3), (1, 1), (1, 3), (2, 1), (2, 3)}
    assert all(name.startswith("lanes") for step, _, name in made if step)


def test_a_lane_nobody_expected_is_made_before_the_next_ones() -> None:
    made: list[int] = []

    def make(step: int, lane: int) -> dict[str, Tensor]:
        made.append(step)
        time.sleep(0.05)
        return {}

    prefetcher = Prefetcher(make, ahead=2)
    prefetcher.get(7, 0)
    assert made[0] == 7
    assert prefetcher.get(8, 0) == {}
    prefetcher.close()
    assert made[1] == 8


def test_an_error_ahead_is_raised_where_its_lane_is_asked_for_and_closing_does_not_hang() -> None:
    def make(step: int, lane: int) -> dict[str, Tensor]:
        if step == 2:
            raise IntegrityError("Shard 7 is corrupt.")
        time.sleep(0.01)
        return {}

    prefetcher = Prefetcher(make)
    prefetcher.get(0, 0)
    prefetcher.get(1, 0)
    with pytest.raises(IntegrityError, match="Shard 7"):
        prefetcher.get(2, 0)
    prefetcher.get(3, 0)
    closer = threading.Thread(target=prefetcher.close)
    closer.start()
    closer.join(10)
    assert not closer.is_alive()


def test_tiles_of_a_lane_have_the_promised_shape(sets: Sets) -> None:
    source = tile_source(sets, lanes=1)
    assert source.lane(0, 0)["tile"].shape == (4, 3, SIDE, SIDE)
    source.close()
