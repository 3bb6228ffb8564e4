"""The pickle reader that runs nothing: right on plain arrays, and closed to everything else."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from lsr.assets.arrays import KINDS, read_arrays
from lsr.core.errors import IntegrityError

ARRAYS = st.sampled_from(KINDS).flatmap(lambda kind: arrays(kind, array_shapes(max_dims=4, max_side=4)))


@settings(max_examples=60)
@given(layers=st.dictionaries(st.text(min_size=1), ARRAYS, max_size=4), protocol=st.sampled_from([3, 4]))
def test_plain_arrays_come_out_as_pickle_would_give_them(layers: dict[str, np.ndarray], protocol: int) -> None:
    data = pickle.dumps({"net": layers, "bias": np.arange(3.0)}, protocol=protocol)
    found = read_arrays(data, "weights")
    assert set(found) == {f"net/{name}" for name in layers} | {"bias"}
    for name, expected in layers.items():
        assert found[f"net/{name}"].dtype == expected.dtype
        np.testing.assert_array_equal(found[f"net/{name}"], expected)


@pytest.mark.parametrize("protocol", [3, 4])
def test_column_major_arrays_keep_their_meaning(protocol: int) -> None:
    matrix = np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4))
    np.testing.assert_array_equal(read_arrays(pickle.dumps({"m": matrix}, protocol=protocol), "w")["m"], matrix)


class Payload:
    """Unpickling this would call `call(*arguments)`."""

    def __init__(self, call: Any, *arguments: Any) -> None:
        self.call, self.arguments = call, arguments

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call, self.arguments


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_malicious_pickle_is_rejected_and_not_run(tmp_path: Path, protocol: int) -> None:
    proof = tmp_path / "ran"
    data = pickle.dumps({"weights": Payload(os.mkdir, str(proof))}, protocol=protocol)
    with pytest.raises(IntegrityError, match="was not run and is not used"):
        read_arrays(data, "alexnet.ckpt")
    assert not proof.exists()
    pickle.loads(data)  # noqa: S301 - the payload above, on purpose
    assert proof.exists(), "the payload must be a real one, or this test shows nothing"


@pytest.mark.parametrize(
    "value",
    [
        Payload(eval, "1 + 1"),
        Payload(np.load, "file.npy"),
        Payload(np.dtype, "f4"),
        np.array([{"an": "object"}], dtype=object),
        np.array(["text"]),
        np.float32(1.5),
        [np.zeros(3)],
        "text",
    ],
)
def test_anything_but_numeric_arrays_in_dicts_is_rejected(value: Any) -> None:
    with pytest.raises(IntegrityError, match=r"alexnet\.ckpt must be a pickle of plain numeric arrays"):
        read_arrays(pickle.dumps({"weights": value}, protocol=4), "alexnet.ckpt")


@settings(max_examples=200)
@given(data=st.data())
def test_broken_pickles_end_in_the_typed_error_or_in_arrays(data: st.DataObject) -> None:
    """Any byte may be wrong; nothing but IntegrityError may come out."""
    whole = bytearray(pickle.dumps({"w": {"kernel": np.ones((2, 2), np.float32)}}, protocol=4))
    at = data.draw(st.integers(0, len(whole) - 1))
    if data.draw(st.booleans()):
        del whole[at:]
    else:
        whole[at] = data.draw(st.integers(0, 255))
    try:
        found = read_arrays(bytes(whole), "w")
    except IntegrityError:
        return
    assert all(isinstance(value, np.ndarray) for value in found.values())
