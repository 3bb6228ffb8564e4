"""A loss from outside the repository: named in the recipe, imported where the stage runs, trained with."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from lsr.core.errors import ConfigError
from lsr.training.config import TrainConfig
from lsr.training.loop import TrainResult
from lsr.training.own import with_own
from tests.training.kit import RecordingTracker, Regression

MODULE = """
from lsr.training.own import Extended

class Decay(Extended):
    own_terms = ("decay",)

    def loss(self, batch, draws):
        loss, terms = self.standard.loss(batch, draws)
        decay = sum(p.square().sum() for p in self.model.parameters())
        return loss + 0.5 * decay, {**terms, "decay": decay}

def nothing(standard):
    return object()
"""


@pytest.fixture
def losses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of somebody else's, on the path."""
    (tmp_path / "their_losses.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_losses", raising=False)
    return "their_losses"


def test_none_is_the_stages_own() -> None:
    objective = Regression()
    assert with_own(objective, None) is objective


def test_an_added_term_trains_and_is_logged(losses: str, fit: Callable[..., TrainResult]) -> None:
    config = TrainConfig(images=160, batch=8)
    plain = fit(Regression(), key="plain", config=config)
    tracker = RecordingTracker()
    extended = with_own(Regression(), f"{losses}:Decay")
    other = fit(extended, key="own", config=config, tracker=tracker)
    assert plain.ema.sha256 != other.ema.sha256
    assert tracker.logged[20]["decay"] < tracker.logged[5]["decay"]
    assert all(torch.isfinite(torch.tensor(values["loss"])) for values in tracker.logged.values())


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("no_such_module:Decay", "cannot be imported here: No module named 'no_such_module'.*PYTHONPATH"),
        ("their_losses:Absent", "cannot be imported here: .*Absent"),
        ("their_losses:nothing", "returned a object without model, terms, to, loss, preview"),
    ],
)
def test_what_is_no_objective_is_named(losses: str, name: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        with_own(Regression(), name)


def test_a_name_of_another_form_is_a_recipe_fault() -> None:
    faults = TrainConfig(images=1, objective="their_losses.Decay").faults()
    assert faults == ["objective must be package.module:callable, or null for none, found 'their_losses.Decay'."]
