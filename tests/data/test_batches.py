"""The training source: a batch is a pure function of (data set, order, positions), however it is asked for."""

from __future__ import annotations

import io
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from lsr.core.errors import InputError, IntegrityError
from lsr.data.batches import LatentSource, TileSource
from lsr.data.order import SampleOrder, micro_batches, share_of
from lsr.data.prefetch import Prefetcher
from lsr.data.shards import SampleReader

from .conftest import COUNTS, SIDE, Sets, make_set, npy, png, sample

LR = "abcdefabcdef"


def order_of(sets: Sets) -> SampleOrder:
    return SampleOrder([row.samples for row in sets.tiles.shards], sets.tiles.digest, 3, 2)


def tile_source(sets: Sets, batch: int = 4) -> TileSource:
    return TileSource(SampleReader(sets.store, sets.tiles), order_of(sets), batch)


def latent_source(sets: Sets, with_tiles: bool = True, **expected: str) -> LatentSource:
    tiles = SampleReader(sets.store, sets.tiles) if with_tiles else None
    asked = {"encoder": "enc", "whitening": "white", "degradation": LR} | expected
    return LatentSource(SampleReader(sets.store, sets.latents), tiles, order_of(sets), 4, **asked)


def owner(index: int) -> int:
    """The shard that holds the sample."""
    return int(np.searchsorted(np.cumsum(COUNTS), index, side="right"))


def pixels(n: int) -> Tensor:
    return torch.from_numpy(np.asarray(Image.open(io.BytesIO(png(n)))).copy()).permute(2, 0, 1)


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_batch_holds_the_samples_of_its_positions(sets: Sets, size: int) -> None:
    source, order = tile_source(sets), order_of(sets)
    for start in range(0, 20, size):
        found = source.batch(start, start + size)
        positions = list(range(start, start + size))
        assert found["position"].tolist() == positions
        assert found["position"].dtype == torch.int64
        assert found["tile"].dtype == torch.uint8
        assert torch.equal(found["tile"], torch.stack([pixels(order.at(p)) for p in positions]))
    source.close()


def tiles_of_worlds(sets: Sets, batch: int, steps: int, world: int, micro_batch: int | None) -> list[Tensor]:
    """Each global batch, put together from what the ranks of a world read, each from a source of its own."""
    parts: dict[int, Tensor] = {}
    for rank in range(world):
        source = tile_source(sets, batch)
        for step in range(steps):
            for part in micro_batches(share_of(batch, rank, world), micro_batch):
                found = source.batch(step * batch + part.start, step * batch + part.stop)
                assert len(found["tile"]) == len(part) <= (micro_batch or batch)
                parts |= dict(zip(found["position"].tolist(), found["tile"]))
        source.close()
    assert sorted(parts) == list(range(batch * steps)), "every position once"
    return [torch.stack([parts[p] for p in range(step * batch, (step + 1) * batch)]) for step in range(steps)]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    batch=st.integers(4, 11),
    world=st.integers(1, 4),
    micro_batch=st.none() | st.integers(1, 5),
)
def test_batches_are_equal_for_any_world_and_micro_batch(
    sets: Sets, batch: int, world: int, micro_batch: int | None
) -> None:
    """Also where neither divides the batch, across the ends of epochs of 12 samples."""
    order = order_of(sets)
    for step, found in enumerate(tiles_of_worlds(sets, batch, 3, world, micro_batch)):
        assert torch.equal(found, torch.stack([pixels(n) for n in order.batch(step, batch)]))


def test_batches_do_not_depend_on_who_asks_in_which_order(sets: Sets) -> None:
    """One rank with all samples, a rank with a share, a resumed rank, backwards, a range that no rank has."""
    asked = [(step * 4 + place, step * 4 + place + 1) for step in range(4) for place in range(4)]
    patterns = [asked, asked[::-1], [a for a in asked if a[0] % 2], asked[7:], [(13, 14), (2, 3), (13, 14)]]
    order = order_of(sets)
    reference = {(start, stop): pixels(order.at(start))[None] for start, stop in asked}
    for pattern in patterns:
        source = tile_source(sets)
        for key in pattern:
            assert torch.equal(source.batch(*key)["tile"], reference[key])
        assert torch.equal(source.batch(2, 7)["tile"], torch.cat([reference[key] for key in asked[2:7]]))
        source.close()


def test_latents_come_raw_and_beside_their_own_tile(sets: Sets) -> None:
    source, order = latent_source(sets), order_of(sets)
    for step in range(6):
        found = source.batch(step * 4 + 2, step * 4 + 4)
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
        SampleReader(sets.store, sets.latents), None, order_of(sets), 4, encoder="enc", whitening="white"
    )
    assert set(source.batch(0, 4)) == {"position", "hr_mean", "hr_std"}
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
def test_latents_of_another_encoder_whitening_or_degradation_are_rejected(sets, expected, error, says) -> None:
    with pytest.raises(error, match=says):
        latent_source(sets, **expected)


def test_latents_of_other_tiles_are_rejected(sets: Sets) -> None:
    other = make_set(sets.store, "tiles", [[sample(f"t{n}", {"png": png(50 + n)}) for n in range(12)]], {}, {})
    with pytest.raises(IntegrityError, match="made from tile set"):
        LatentSource(
            SampleReader(sets.store, sets.latents),
            SampleReader(sets.store, other),
            order_of(sets),
            4,
            encoder="enc",
            whitening="white",
        )


def test_a_latent_beside_another_tile_is_rejected_by_its_key(sets: Sets) -> None:
    keys = [[f"x{i}-{n}" for n in range(count)] for i, count in enumerate(COUNTS)]
    shards = [[sample(key, {"hr.npy": npy(0)}) for key in shard] for shard in keys]
    extra = {"encoder": "enc", "whitening": "white"}
    latents = make_set(sets.store, "latents", shards, {"tiles": sets.tiles.digest}, extra)
    readers = SampleReader(sets.store, latents), SampleReader(sets.store, sets.tiles)
    source = LatentSource(*readers, order_of(sets), 4, encoder="enc", whitening="white")
    with pytest.raises(IntegrityError, match=r"Sample x.* does not match Sample 0000"):
        source.batch(0, 4)
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


@pytest.mark.parametrize("broken", ["not an image", "another size", *BROKEN_LATENTS])
def test_a_sample_that_cannot_be_used_is_named(sets: Sets, broken: str) -> None:
    bad = {"not an image": b"text", "another size": png(0, 9)}.get(broken, png(0))
    shard = [sample("good", {"png": png(1)}), sample("bad", {"png": bad})]
    manifest = make_set(sets.store, "tiles", [shard], {}, {})
    reader: SampleReader = SampleReader(sets.store, manifest)
    source: TileSource | LatentSource = TileSource(reader, SampleOrder([2], "d", 0, 1), 2)
    if broken in BROKEN_LATENTS:
        shard = [sample("good", {"hr.npy": npy(0)}), sample("bad", {"hr.npy": BROKEN_LATENTS[broken]})]
        extra = {"encoder": "e", "whitening": "w"}
        manifest = make_set(sets.store, "latents", [shard], {"tiles": "t"}, extra)
        reader = SampleReader(sets.store, manifest)
        source = LatentSource(reader, None, SampleOrder([2], "d", 0, 1), 2, encoder="e", whitening="w")
    with pytest.raises(IntegrityError, match=f"Sample (bad|good) of .*{manifest.shards[0].sha256}"):
        source.batch(0, 2)
    source.close()


def test_a_corrupt_shard_reaches_the_caller_from_the_thread(sets: Sets) -> None:
    order = order_of(sets)
    first = set(order.batch(0, 4))
    later = next(p for p in range(4, 12) if all(owner(order.at(p)) != owner(n) for n in first))
    row = sets.tiles.shards[owner(order.at(later))]
    path = Path(sets.store.uri.removeprefix("file://")) / row.path
    path.write_bytes(path.read_bytes()[:-1] + b"\1")
    source = tile_source(sets)
    source.batch(0, 4)

    def read_on() -> None:
        start = later // 4 * 4
        source.batch(start, start + 4)
        source.verify()

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
    source.batch(0, 2)
    source.close()
    source.close()
    with pytest.raises(InputError, match="Positions 2 to 3 were asked of a source that is closed"):
        source.batch(2, 4)


def test_impossible_ranges_and_sets_are_rejected(sets: Sets) -> None:
    reader = SampleReader(sets.store, sets.tiles)
    with pytest.raises(IntegrityError, match="for 13 samples, but data set demo has 12"):
        TileSource(reader, SampleOrder([13], "d", 0, 1), 4)
    with pytest.raises(InputError, match="must be of kind 'tiles', found 'latents'"):
        TileSource(SampleReader(sets.store, sets.latents), order_of(sets), 4)
    source = tile_source(sets)
    for start, stop in ((2, 2), (3, 2), (-1, 2)):
        with pytest.raises(InputError, match=f"found start {start} and stop {stop}"):
            source.batch(start, stop)
    source.close()


def test_the_thread_works_ahead_for_the_ranges_of_this_rank() -> None:
    """Of batches of 10, this rank has the places 5 to 9, as 3 and 2."""
    made: list[tuple[int, int, str]] = []
    done = threading.Event()

    def make(start: int, stop: int) -> dict[str, Tensor]:
        made.append((start, stop, threading.current_thread().name))
        if len(made) == 6:
            done.set()
        return {}

    prefetcher = Prefetcher(make, 10, ahead=4)
    prefetcher.get(5, 8)
    prefetcher.get(8, 10)
    assert done.wait(10)
    prefetcher.close()
    assert {m[:2] for m in made} >= {(5, 8), (8, 10), (15, 18), (18, 20), (25, 28), (28, 30)}
    assert all(name.startswith("batches") for start, _, name in made if start >= 10)


def test_a_range_nobody_expected_is_made_before_the_next_ones() -> None:
    made: list[int] = []

    def make(start: int, stop: int) -> dict[str, Tensor]:
        made.append(start)
        time.sleep(0.05)
        return {}

    prefetcher = Prefetcher(make, 4, ahead=2)
    prefetcher.get(28, 32)
    assert made[0] == 28
    assert prefetcher.get(32, 36) == {}
    prefetcher.close()
    assert made[1] == 32


def test_an_error_ahead_is_raised_where_its_range_is_asked_for_and_closing_does_not_hang() -> None:
    def make(start: int, stop: int) -> dict[str, Tensor]:
        if start == 2:
            raise IntegrityError("Shard 7 is corrupt.")
        time.sleep(0.01)
        return {}

    prefetcher = Prefetcher(make, 1)
    prefetcher.get(0, 1)
    prefetcher.get(1, 2)
    with pytest.raises(IntegrityError, match="Shard 7"):
        prefetcher.get(2, 3)
    prefetcher.get(3, 4)
    closer = threading.Thread(target=prefetcher.close)
    closer.start()
    closer.join(10)
    assert not closer.is_alive()


def test_tiles_of_a_batch_have_the_promised_shape(sets: Sets) -> None:
    source = tile_source(sets)
    assert source.batch(0, 4)["tile"].shape == (4, 3, SIDE, SIDE)
    source.close()
