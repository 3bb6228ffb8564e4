"""Recipes: complete, light, checked whole; a team's own comes from outside the repository."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lsr.core.errors import ConfigError
from lsr.recipes import BUILT_IN, load_recipe


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
    assert "lr must be positive" in text
    assert "holdout must lie in [0, 1]" in text


def test_generation_takes_no_condition_and_super_resolution_needs_one() -> None:
    with pytest.raises(ConfigError, match="exactly one"):
        load_recipe("demo", {"latents.degradations": "[]"})
    with pytest.raises(ConfigError, match="must be empty"):
        load_recipe("demo-generate", {"latents.degradations": '[{"factor": 4}]'})


@pytest.mark.parametrize("part", ["evaluate", "infer"])
def test_a_solver_without_noise_takes_no_eta(part: str) -> None:
    assert getattr(load_recipe("demo", {f"{part}.sampler": "dpm++"}), part).sampler == "dpm++"
    with pytest.raises(ConfigError, match=r"sampler dpm\+\+ draws no noise"):
        load_recipe("demo", {f"{part}.sampler": "dpm++", f"{part}.eta": "0.5"})


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
    with pytest.raises(ConfigError, match=r"lr_share must lie in \[0, 1\], found 1.5"):
        load_recipe("demo", {"decoder.loss.lr_share": "1.5"})
