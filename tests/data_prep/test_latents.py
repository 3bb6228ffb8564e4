"""Latent shards: aligned 1:1 with their tiles, of exactly those tiles, with statistics and an honest rounding error."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import avg_pool2d

from data_prep.assemble import latents_manifest
from data_prep.config import LatentsConfig, ShardConfig, TileConfig
from data_prep.latents import EncodedShard, Statistics, encode_shard_to_store, fit_whitening
from lsr.core.errors import InputError, IntegrityError
from lsr.data.batches import LatentSource
from lsr.data.config import DegradationConfig
from lsr.data.degrade import degradation_digest, degrade, restore_size
from lsr.data.manifest import Manifest
from lsr.data.order import SampleOrder
from lsr.data.shards import SampleReader
from lsr.data.verify import verify
from lsr.data.whitening import Whitening
from lsr.store import open_store

from .conftest import encode as encode_image
from .conftest import make_image
from .test_shard import make
from .test_tile import tiles_of

FOUR = DegradationConfig(factor=4)
CONFIG = LatentsConfig(degradations=(FOUR,))
BATCH = 3


def plain(x: Tensor) -> tuple[Tensor, Tensor | None]:
    """Channel c is the c-th colour, averaged over 4 x 4 pixels, times 3 c + 1."""
    return avg_pool2d(x, 4) * torch.tensor([1.0, 4.0, 7.0])[:, None, None], None


def gaussian(x: Tensor) -> tuple[Tensor, Tensor | None]:
    mean, _ = plain(x)
    return mean, mean.abs() + 0.5


@pytest.fixture
def tiles(store_uri, folder) -> Manifest:
    config = ShardConfig(holdout=0.0, max_shard_bytes=40_000)
    images, _ = make(store_uri, folder({f"{n}.png": encode_image(make_image(n, 64, 96)) for n in range(6)}), config)
    return tiles_of(store_uri, images, TileConfig(size=32, stride=32))


def encoded(
    store_uri: str, tiles: Manifest, encode=plain, config=CONFIG, name: str = "enc", batch: int = BATCH
) -> list[EncodedShard]:
    return [encode_shard_to_store(store_uri, row, encode, name, config, batch) for row in tiles.shards]


def latents_of(store_uri: str, tiles: Manifest, encode=plain, config=CONFIG, batch: int = BATCH) -> Manifest:
    shards = encoded(store_uri, tiles, encode, config, batch=batch)
    whitening = fit_whitening([shard.statistics for shard in shards], config.whitening)
    manifest = latents_manifest("demo", tiles, shards, config, encoder="enc", whitening=whitening)
    open_store(store_uri).write(f"{manifest.directory}/{manifest.digest}.json", manifest.to_bytes())
    return manifest


def arrays(reader: SampleReader, member: str) -> np.ndarray:
    found = [np.load(io.BytesIO(reader.read(i)[member]), allow_pickle=False) for i in range(len(reader))]
    assert {array.dtype.str for array in found} == {"<f2"}
    return np.stack(found)


def tile_batch(reader: SampleReader) -> Tensor:
    images = [np.asarray(Image.open(io.BytesIO(reader.read(i)["png"]))) for i in range(len(reader))]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_latents_are_aligned_with_their_tiles_shard_by_shard(store_uri, tiles) -> None:
    latents = latents_of(store_uri, tiles)
    assert len(latents.shards) > 1
    assert [row.samples for row in latents.shards] == [row.samples for row in tiles.shards]
    readers = [SampleReader(open_store(store_uri), manifest) for manifest in (tiles, latents)]
    keys = [[reader.row(i).key for i in range(len(reader))] for reader in readers]
    assert keys[0] == keys[1]
    assert latents.parents["tiles"] == tiles.digest
    assert verify(open_store(store_uri), latents) == []


def test_a_latent_is_of_exactly_its_tile_and_its_degraded_copy(store_uri, tiles) -> None:
    store = open_store(store_uri)
    reader = SampleReader(store, latents_of(store_uri, tiles))
    x = tile_batch(SampleReader(store, tiles))
    member = f"lr-{degradation_digest(FOUR)}.npy"
    assert set(reader.read(0)) == {"hr.npy", member}
    lr = restore_size(FOUR, degrade(FOUR, x), (32, 32))
    for name, wanted in (("hr.npy", plain(x)[0]), (member, plain(lr)[0])):
        assert np.abs(arrays(reader, name) - wanted.numpy()).max() <= 7 * 2**-11
    assert np.abs(arrays(reader, "hr.npy").astype(float) - arrays(reader, member)).max() > 0.01


def test_a_deviation_is_kept_and_generation_has_no_condition(store_uri, tiles) -> None:
    reader = SampleReader(open_store(store_uri), latents_of(store_uri, tiles, gaussian, LatentsConfig(), batch=100))
    assert set(reader.read(0)) == {"hr.npy", "hr_std.npy"}
    wanted = np.abs(arrays(reader, "hr.npy").astype(float)) + 0.5
    np.testing.assert_allclose(arrays(reader, "hr_std.npy"), wanted, rtol=2e-3)


def test_statistics_and_whitening_against_numpy(store_uri, tiles) -> None:
    latents = latents_of(store_uri, tiles)
    values = arrays(SampleReader(open_store(store_uri), latents), "hr.npy").astype(np.float64)
    shards = [shard.statistics for shard in encoded(store_uri, tiles)]
    channel = fit_whitening(shards, "channel")
    np.testing.assert_allclose(channel.mean, values.mean(axis=(0, 2, 3)), rtol=1e-10)
    np.testing.assert_allclose(channel.std, values.std(axis=(0, 2, 3)), rtol=1e-8)
    scalar = fit_whitening(shards, "std")
    np.testing.assert_allclose(scalar.std, [values.std()] * 3, rtol=1e-8)
    assert scalar.mean == (0, 0, 0)
    assert fit_whitening(shards[::-1], "channel").digest == channel.digest
    assert latents.extra["whitening"] == channel.digest
    assert Whitening.from_plain(latents.extra["whitening_values"]) == channel


def test_the_rounding_error_of_half_precision_is_stated(store_uri, tiles) -> None:
    latents = latents_of(store_uri, tiles)
    x = tile_batch(SampleReader(open_store(store_uri), tiles))
    lr = restore_size(FOUR, degrade(FOUR, x), (32, 32))
    full = torch.cat([plain(x)[0], plain(lr)[0]]).numpy()
    assert latents.extra["max_error"] == pytest.approx(np.abs(full - full.astype(np.float16)).max(), rel=0.2)
    assert 0 < latents.extra["max_error"] <= 7 * 2**-11


@pytest.mark.parametrize("value", [1e6, float("nan"), float("inf")])
def test_latents_that_half_precision_cannot_hold_are_rejected_by_key(store_uri, tiles, value) -> None:
    def broken(x: Tensor) -> tuple[Tensor, Tensor | None]:
        mean = plain(x)[0]
        mean[-1] += value
        return mean, None

    row = tiles.shards[0]
    with pytest.raises(IntegrityError, match=f"hr.npy of [0-9a-f]{{16}}-.* in .*{row.sha256}.* not finite"):
        encode_shard_to_store(store_uri, row, broken, "enc", CONFIG, BATCH)


def test_a_collapsed_encoder_and_an_empty_set_are_rejected() -> None:
    constant = Statistics(count=10, total=(20.0, 5.0), squares=(40.0, 30.0), max_error=0.0)
    with pytest.raises(InputError, match="collapsed"):
        fit_whitening([constant], "channel")
    with pytest.raises(InputError, match="at least one latent"):
        fit_whitening([], "std")


def test_encoding_again_costs_a_look_up_and_another_encoder_does_not(store_uri, tiles) -> None:
    first = encoded(store_uri, tiles)

    def never(x: Tensor) -> tuple[Tensor, Tensor | None]:
        raise AssertionError("encoded again")

    assert encoded(store_uri, tiles, never) == first
    assert encoded(store_uri, tiles, never, replace(CONFIG, whitening="std"), batch=7) == first
    with pytest.raises(AssertionError, match="encoded again"):
        encoded(store_uri, tiles, never, name="other")
    with pytest.raises(AssertionError, match="encoded again"):
        encoded(store_uri, tiles, never, replace(CONFIG, degradations=()))


def test_a_corrupt_tile_shard_and_missing_latents_are_named(store_uri, tiles) -> None:
    shards = encoded(store_uri, tiles)
    white = Whitening(kind="std", mean=(0.0,), std=(1.0,))
    with pytest.raises(IntegrityError, match="Latents of demo"):
        latents_manifest("demo", tiles, shards[1:], CONFIG, encoder="enc", whitening=white)
    store, row = open_store(store_uri), tiles.shards[0]
    store.write(row.path, store.read(row.path)[:-1] + b"\1")
    with pytest.raises(IntegrityError, match=row.sha256):
        encode_shard_to_store(store_uri, row, plain, "another", CONFIG, BATCH)


def test_training_reads_what_was_encoded(store_uri, tiles) -> None:
    store, latents = open_store(store_uri), latents_of(store_uri, tiles, gaussian)
    order = SampleOrder([row.samples for row in latents.shards], latents.digest, 0, 2)
    source = LatentSource(
        SampleReader(store, latents),
        SampleReader(store, tiles),
        order,
        batch=4,
        encoder="enc",
        whitening=latents.extra["whitening"],
        degradation=degradation_digest(FOUR),
    )
    batch = source.batch(14, 16)
    source.close()
    x = batch["tile"].float() / 127.5 - 1
    assert (batch["hr_mean"] - gaussian(x)[0]).abs().max() <= latents.extra["max_error"]
    lr = restore_size(FOUR, degrade(FOUR, x), (32, 32))
    assert (batch["lr"] - plain(lr)[0]).abs().max() <= latents.extra["max_error"]
