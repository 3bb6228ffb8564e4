"""Studies as data: equal budgets are enforced, faults come all at once, reading one is light."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

from lsr.core.config import as_plain, from_plain
from lsr.core.errors import ConfigError
from lsr.models.baselines.build import build
from lsr.models.config import SystemConfig
from lsr.models.system import LatentSystem
from lsr.recipes.study import BASELINES, BUILT_IN, StudyConfig, load_study
from lsr.recipes.study_tuned import CHOSEN, FURTHER
from lsr.training.config import DecoderLoss, ImageTerms


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_study_is_sound_and_survives_plain_data(name: str) -> None:
    study = load_study(name)
    assert study.name == name
    assert from_plain(StudyConfig, as_plain(study)) == study
    if name not in ("study-ablation", "study-tuning"):
        further = [variant.name for variant in study.variants if variant.of in BASELINES]
        assert [system for system, _ in study.baselines()] == [*BASELINES, *further]
        assert further == (["esrgan-further"] if name == "study-tuned" else [])
        assert len(study.seeds) >= 3


def test_each_variant_changes_our_system_and_keeps_its_budget() -> None:
    study, base = load_study("study-ablation"), load_study("study-2core")
    assert study.ours == base.ours, "what is on record of the study is reused"
    recipes = dict(study.latent_systems())
    assert len({str(as_plain(recipe)) for recipe in recipes.values()}) == len(study.variants) + 2
    assert [recipe.joint.train.steps for recipe in recipes.values()] == [100] * 4 + [500] * 3 + [100] * 4


def test_a_variant_must_be_sound_and_have_a_name_of_its_own() -> None:
    study = load_study("study-ablation")
    variant = study.variants[0]
    assert replace(study, variants=(variant, variant)).faults() == [
        "variant no-perceptual has the name of another row."
    ]
    assert replace(study, variants=(replace(variant, name="ours"),)).faults() == [
        "variant ours has the name of another row."
    ]
    wide = DecoderLoss(scales=(0.25, 1.0), image=ImageTerms(perceptual=1.0))
    torn = replace(variant, parts=replace(variant.parts, decoder=replace(variant.parts.decoder, loss=wide)))
    (fault,) = replace(study, variants=(torn,)).faults()
    assert fault.startswith("no-perceptual: decoder.loss.image compares images of at least 32 pixels, found 12")


def test_a_variant_is_of_a_row_of_its_kind() -> None:
    study = load_study("study-tuning")
    of_edsr, of_ours = study.variants[0], study.variants[-1]
    unknown = replace(of_edsr, of="rcan")
    assert replace(study, variants=(unknown,)).faults() == [
        "variant edsr-lr-double is held against 'rcan'; rows are published, ours, edsr, liif, esrgan, sr3, idm."
    ]
    crossed = (replace(of_edsr, of="ours"), replace(of_ours, of="idm"))
    assert replace(study, variants=crossed).faults() == [
        "variant edsr-lr-double is of ours and needs parts of kind LatentParts.",
        "variant ours-share-narrow-perceptual-2 is of idm and needs parts of kind BaselineStage.",
    ]
    assert "is held against 'edsr'" in replace(study, edsr=None).faults()[0]


def test_tuning_gives_every_learned_system_five_variants_and_two_of_them_more() -> None:
    study = load_study("study-tuning")
    rows = dict(study.baselines()) | dict(study.latent_systems())
    counts = Counter(variant.of for variant in study.variants)
    assert counts == {**dict.fromkeys(("published", *BASELINES), 5), "ours": 10, "esrgan": 8}
    for variant in study.variants:
        assert as_plain(rows[variant.name]) != as_plain(rows[variant.of]), f"{variant.name} changes nothing"


def test_the_tuned_study_takes_the_chosen_rows_and_photos_that_no_choice_was_made_on() -> None:
    tuning, tuned, base = (load_study(name) for name in ("study-tuning", "study-tuned", "study-2core"))
    rows = {variant.name: (variant.of, as_plain(variant.parts)) for variant in tuning.variants}
    found = dict(tuned.baselines()) | {"published": tuned.published}
    assert set(CHOSEN) == {*BASELINES, "published", "ours"}
    assert {variant.name: (variant.of, as_plain(variant.parts)) for variant in tuned.variants} == {
        name: rows[row] for name, row in FURTHER.items()
    }
    for system, row in CHOSEN.items():
        if system != "ours":
            assert rows[row] == (system, as_plain(found[system]))
    for stage in ("autoencoder", "decoder", "latents", "denoise", "joint"):
        assert as_plain(getattr(tuned.ours, stage)) == rows[CHOSEN["ours"]][1][stage]
    own = {system: [variant.name for variant in tuning.variants if variant.of == system][:5] for system in CHOSEN}
    assert all(row in own[system] for system, row in CHOSEN.items()), "a row of the five that all systems had"
    assert tuned.evaluate.skip >= base.evaluate.photos
    assert tuned.ours.tile == base.ours.tile, "the same tiles"


def test_every_system_must_see_as_many_tiles() -> None:
    with pytest.raises(ConfigError, match="edsr sees 32 tiles in training; every system must see images_seen, 11200"):
        load_study("study-2core", {"edsr.train.images": "32"})
    with pytest.raises(ConfigError, match="published sees"):
        load_study("study-2core", {"published.joint.train.images": "1"})


def test_a_system_can_be_left_out() -> None:
    study = load_study("study-2core", {"sr3": "null", "idm": "null"})
    assert [name for name, _ in study.baselines()] == ["edsr", "liif", "esrgan"]


def test_faults_of_a_study_come_together() -> None:
    with pytest.raises(ConfigError) as caught:
        load_study("study-2core", {"seeds": "[1, 1]", "own_scale": "3.0", "few_steps": "200"})
    text = str(caught.value)
    assert "seeds must be given and differ" in text
    assert "own_scale must be one of evaluate.scales" in text
    assert "few_steps must be below many_steps" in text
    with pytest.raises(ConfigError, match="There is no study 'nothing'"):
        load_study("nothing")
    with pytest.raises(ConfigError, match="must return a StudyConfig, found Recipe"):
        load_study("lsr.recipes.demo:demo")


def test_reading_a_study_loads_no_torch() -> None:
    code = (
        "import sys; from lsr.recipes.study import load_study; load_study('study-2core'); "
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_every_system_of_the_gpu_study_has_at_most_30_m_parameters() -> None:
    study = load_study("study-gpu")
    counts = {}
    with torch.device("meta"):
        for name, stage in study.baselines():
            counts[name] = parameters(build(stage.model))
        for name, recipe in study.latent_systems():
            counts[name] = parameters(
                LatentSystem(
                    SystemConfig(
                        autoencoder=recipe.autoencoder.model,
                        renderer=recipe.decoder.renderer,
                        unet=recipe.denoise.unet,
                        diffusion=recipe.denoise.diffusion,
                        latent_side=recipe.tile.size // recipe.autoencoder.model.factor,
                        residual=recipe.decoder.residual is not None,
                    )
                )
            )
    assert max(counts.values()) <= 30_000_000, counts
    assert min(counts[name] for name in ("sr3", "idm", "published", "ours")) >= 20_000_000, "the diffusion systems"
    assert study.evaluate.sampler.steps == 200


def parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
