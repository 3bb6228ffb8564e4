"""Settings, seeds, references, errors: the small words that every room speaks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core import errors
from lsr.core.errors import ConfigError, LsrError
from lsr.core.progress import Quiet, RichProgress
from lsr.core.randomness import derive_seed
from lsr.core.refs import Ref
from lsr.core.settings import load_settings


def test_the_embedded_profile_needs_no_variable_and_keeps_everything_below_its_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = load_settings({})
    assert found.home == tmp_path / "lsr-home"
    assert found.store == f"file://{tmp_path}/lsr-home/store"
    assert found.mlflow == f"sqlite:///{tmp_path}/lsr-home/mlflow.db"
    assert (found.embedded, found.ray_jobs, found.prefect_api, found.prefix) == (True, None, None, "")
    assert found.cache.is_relative_to(found.home)
    assert found.output.is_relative_to(found.home)
    assert not found.home.exists()


def test_the_services_profile_is_the_same_code_with_other_variables():
    found = load_settings(
        {
            "LSR_HOME": "/srv/lsr",
            "LSR_STORE": "s3://bucket/prod/",
            "MLFLOW_TRACKING_URI": "http://mlflow:5000",
            "PREFECT_API_URL": "http://prefect:4200/api",
            "LSR_RAY_JOBS_ADDRESS": "http://ray:8265",
            "LSR_MODEL_PREFIX": "prod-",
        }
    )
    assert found.store == "s3://bucket/prod"
    assert found.mlflow == "http://mlflow:5000"
    assert not found.embedded
    assert found.prefix == "prod-"
    assert found.home == Path("/srv/lsr")


def test_an_empty_variable_is_as_good_as_none():
    assert load_settings({"LSR_HOME": "/h", "LSR_STORE": "", "MLFLOW_TRACKING_URI": "", "PREFECT_API_URL": ""}) == (
        load_settings({"LSR_HOME": "/h"})
    )


def test_a_store_of_an_unknown_kind_is_rejected():
    with pytest.raises(ConfigError, match=r"LSR_STORE must start with file:// or s3://, found 'gs://x'"):
        load_settings({"LSR_STORE": "gs://x"})


def test_every_error_has_its_own_exit_code_and_a_sentence_about_itself():
    """Scripts tell errors apart by the code; a lost lease is a failed run."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LsrError)]
    own = [kind for kind in kinds if "exit_code" in vars(kind)]
    assert len({kind.exit_code for kind in own}) == len(own)
    assert all(kind.exit_code > 0 and kind.__doc__ for kind in kinds)
    assert set(kinds) - set(own) == {errors.LeaseLostError}


def test_seeds_are_fixed_for_ever():
    """Golden values (`b2sum -l 64`, halved): another derivation would change every result that was ever trained."""
    assert derive_seed(0) == 4761921975702974394
    assert derive_seed(7, "denoise", "noise", 12345) == 7190538222641671809


@given(
    st.lists(st.tuples(st.integers(0, 99), st.sampled_from("abc"), st.integers(0, 10**12)), unique=True, max_size=50)
)
def test_different_draws_have_different_seeds_that_fit_a_generator(paths):
    seeds = [derive_seed(*path) for path in paths]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_a_path_is_not_confused_with_its_joined_text():
    assert derive_seed(1, "ab", "c") != derive_seed(1, "a", "bc")
    assert derive_seed(1, 23) != derive_seed(12, 3)


def test_a_reference_is_plain_data():
    ref = Ref(kind="tiles", key="k", digest="d", path="datasets/x/d.json")
    assert Ref(**ref.as_dict()) == ref


def test_progress_writes_nothing_when_quiet_and_lines_where_there_is_no_terminal(capsys):
    with Quiet().task("encode", 10) as task:
        task.advance(3, "loss 0.1")
    assert capsys.readouterr() == ("", "")
    with RichProgress(every=0.0).task("encode", 10, "tiles") as task:
        task.advance(3, "loss 0.1")
    assert "encode: 3 of 10 tiles" in capsys.readouterr().err


def test_the_vocabulary_loads_nothing_heavy():
    code = (
        "import sys, lsr.core.canonical, lsr.core.config, lsr.core.errors, lsr.core.progress, lsr.core.randomness,"
        "lsr.core.refs, lsr.core.settings, lsr.store;"
        "print(*sorted({'torch', 'numpy', 'ray', 'mlflow', 'prefect', 'boto3', 'rich'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout == "\n"
