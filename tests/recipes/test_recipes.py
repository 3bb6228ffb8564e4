"""Recipes: complete, light, checked whole; a team's own comes from outside the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lsr.cli.recipe import fields_of
from lsr.core.errors import ConfigError
from lsr.recipes import BUILT_IN, load_recipe
from lsr.recipes.run import BUILT_IN as RUNS
from lsr.recipes.run import load_run


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_every_built_in_recipe_is_sound(name: str) -> None:
    assert load_recipe(name).name == name


def test_reading_a_recipe_loads_no_torch() -> None:
    code = (
        "import sys; from lsr.recipes import load_recipe; load_recipe('demo'); "
        "print(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def test_a_recipe_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_team_recipes.py").write_text(
        "from dataclasses import replace\nfrom lsr.recipes.demo import demo\n\n\ndef ours():\n"
        "    return replace(demo(), name='ours', seed=99)\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_recipe("my_team_recipes:ours").seed == 99


def test_all_faults_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        load_recipe("demo", {"tile.size": "30", "denoise.train.lr": "-1", "shard.holdout": "2"})
    text = str(caught.value)
    assert "tile.size must be a multiple" in text
    assert "denoise.train.lr must be greater than 0, found -1" in text
    assert "shard.holdout must be less than or equal to 1, found 2" in text


def test_generation_takes_no_condition_and_super_resolution_needs_one() -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        load_recipe("demo", {"latents.degradations": "[]"})
    with pytest.raises(ConfigError, match="must be empty"):
        load_recipe("demo-generate", {"latents.degradations": '[{"factor": 4}]'})


@pytest.mark.parametrize("part", ["evaluate", "infer"])
def test_a_solver_without_noise_takes_no_eta(part: str) -> None:
    plain = {"denoise.diffusion.shift": "false"}
    assert getattr(load_recipe("demo", {**plain, f"{part}.sampler.name": "dpm++"}), part).sampler.name == "dpm++"
    with pytest.raises(ConfigError, match=r"sampler dpm\+\+ draws no noise"):
        load_recipe("demo", {**plain, f"{part}.sampler.name": "dpm++", f"{part}.sampler.eta": "0.5"})


NONSENSE = {
    "denoise.train.batch": ("0", "-8"),
    "denoise.train.images": ("-1", "1.5"),
    "denoise.train.window": ("0",),
    "tile.max_per_image": ("-1", "0"),
    "tile.max_shard_bytes": ("0",),
    "tile.min_detail": ("-1",),
    "shard.max_shard_bytes": ("0",),
    "infer.sampler.steps": ("0", "5000"),
    "infer.scale": ("0", "-2", "NaN", "Infinity"),
    "evaluate.sampler.steps": ("0", "5000"),
    "evaluate.scales": ("[]", "[0]", "[2, -1]"),
    "evaluate.trained": ("[4, 1]",),
    "evaluate.sampler.eta": ("2",),
    "gate.resamples": ("0",),
    "gate.confidence": ("0", "1"),
    "gate.floor": ("[]", '[{"metric": "psnr", "reference": "champion", "above": 0}]'),
    "joint.loss.cap": ("0",),
    "joint.train.cooldown": ("8",),
    "model": ("a/b", "a@b", "", "-x"),
    "source.name": ("a/b", "..", "a b"),
    "seed": ("-1", "9007199254740993"),
}


@pytest.mark.parametrize(("field", "value"), [(field, value) for field, values in NONSENSE.items() for value in values])
def test_nonsense_is_rejected_with_the_recipe(field: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"found|must"):
        load_recipe("demo", {field: value})


def test_ranges_types_names_and_rules_come_at_once() -> None:
    wrong = {"denoise.train.batch": "0", "nope.x": "1", "decoder.train.lr": "fast", "infer.sampler.steps": "5000"}
    with pytest.raises(ConfigError) as caught:
        load_recipe("demo", wrong)
    for part in ("denoise.train.batch must be", "nope.x is not a recipe field", "decoder.train.lr must be", "at most"):
        assert part in str(caught.value), part


@pytest.mark.parametrize("name", sorted(RUNS))
def test_every_built_in_run_is_sound(name: str) -> None:
    assert load_run(name).name == name


def test_processes_that_share_a_gpu_are_rejected_before_any_start() -> None:
    assert load_run("laptop", {"train.workers": "1", "train.worker.gpus": "0.5"}).train.worker.gpus == 0.5
    with pytest.raises(ConfigError, match=r"must be a whole number with 2 workers, found 0\.5"):
        load_run("laptop", {"train.worker.gpus": "0.5"})


def test_a_run_from_outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_team_runs.py").write_text(
        "from dataclasses import replace\nfrom lsr.recipes.run import laptop\n\n\ndef big():\n"
        "    return replace(laptop(), name='big')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert load_run("my_team_runs:big", {"train.workers": "5"}).train.workers == 5


def test_every_field_says_what_it_means() -> None:
    for config in (load_recipe("demo"), load_run("laptop")):
        for row in fields_of(config):
            assert row["doc"].endswith((".", ")")), row


def test_a_residual_is_of_the_degradation_whose_latents_are_cached() -> None:
    assert load_recipe("demo", {"decoder.residual": '{"factor": 4}'}).decoder.residual is not None
    with pytest.raises(ConfigError, match=r"decoder\.residual must be the degradation"):
        load_recipe("demo", {"decoder.residual": '{"factor": 8}'})
    with pytest.raises(ConfigError, match=r"decoder\.residual must be the degradation"):
        load_recipe("demo-generate", {"decoder.residual": '{"factor": 4}'})


def test_only_a_residual_decoder_knows_a_condition_to_render_from() -> None:
    assert load_recipe("demo", {"decoder.loss.lr_share": "0.5"}).decoder.loss.lr_share == 0.5
    with pytest.raises(ConfigError, match=r"lr_share needs decoder\.residual"):
        load_recipe("demo", {"decoder.loss.lr_share": "0.5", "decoder.residual": "null"})
    with pytest.raises(ConfigError, match=r"lr_share must be less than or equal to 1, found 1.5"):
        load_recipe("demo", {"decoder.loss.lr_share": "1.5"})


@pytest.mark.parametrize(
    ("recipe", "changes", "said"),
    [
        ("demo", {"denoise.diffusion.shift": "true", "infer.sampler.name": "heun"}, r"infer\.sampler must be ddim"),
        ("demo", {"denoise.diffusion.shift": "true", "evaluate.sampler.eta": "1"}, r"evaluate\.sampler must be ddim"),
        ("demo", {"denoise.diffusion.shift": "true", "denoise.diffusion.prediction": "eps"}, "needs prediction x0"),
        ("photo", {"autoencoder.model.patch": "2"}, r"autoencoder's factor 2, found factor 4"),
        ("photo", {"decoder.residual": "null", "decoder.loss.lr_share": "0"}, "found null"),
        ("demo-generate", {"evaluate.sampler.fidelity": "0.5"}, r"evaluate\.sampler\.fidelity needs an LR image"),
    ],
)
def test_options_that_need_the_lr_image_say_so(recipe: str, changes: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load_recipe(recipe, changes)
