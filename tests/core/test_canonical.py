"""Canonical JSON and the action key: one value has one spelling, on every machine and for ever."""

from __future__ import annotations

import hashlib
import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lsr.core.canonical import MAX_SAFE_INT, action_key, canonical_json, canonical_list, sha256_hex
from lsr.core.errors import ConfigError

SAFE_INTS = st.integers(-MAX_SAFE_INT, MAX_SAFE_INT)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
SCALARS = st.none() | st.booleans() | SAFE_INTS | st.floats(allow_nan=False, allow_infinity=False) | TEXT
VALUES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4))


@given(VALUES)
def test_canonical_json_is_json_and_reads_back_as_equal(value):
    """Every number is a double: 1e16 is spelled as a whole number, which only a reader of doubles reads back equal."""
    assert json.loads(canonical_json(value), parse_int=float) == value


@given(st.lists(VALUES, max_size=5))
def test_a_list_in_pieces_is_the_list(values):
    assert b"".join(canonical_list(iter(values))) == canonical_json(values)


@given(st.dictionaries(TEXT, VALUES, max_size=5))
def test_the_order_in_which_a_table_was_built_does_not_matter(table):
    backwards = dict(reversed(list(table.items())))
    assert canonical_json(backwards) == canonical_json(table)


@given(VALUES)
def test_reading_and_writing_again_changes_no_byte(value):
    data = canonical_json(value)
    assert canonical_json(json.loads(data, parse_int=float)) == data


def test_spelling_by_rfc_8785():
    """No spaces, keys sorted by UTF-16, numbers as JavaScript prints them, characters as themselves."""
    value = {"b": [1.0, 1e21, 0.1, -0.0, True, None], "a": "é\n\u20ac", "\ufb33": 1, "\U0001f600": 2}
    expected = '{"a":"é\\n€","b":[1,1e+21,0.1,0,true,null],"😀":2,"\ufb33":1}'
    assert canonical_json(value) == expected.encode()
    assert canonical_json((1, (2,))) == b"[1,[2]]"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_without_a_spelling_are_rejected_with_their_place(value):
    with pytest.raises(ConfigError, match=r"at train\.lr\[1\]; use a finite number"):
        canonical_json({"train": {"lr": [0.1, value]}})
    with pytest.raises(ConfigError, match="at the top"):
        canonical_json(value)


@pytest.mark.parametrize("value", [2**53, -(2**53), 10**30])
def test_integers_that_a_double_cannot_hold_are_rejected(value):
    with pytest.raises(ConfigError, match=r"2\^53-1.*string"):
        canonical_json({"seed": value})
    assert canonical_json(MAX_SAFE_INT) == b"9007199254740991"


@pytest.mark.parametrize("value", [b"bytes", {1, 2}, object(), {1: "key"}, {"x": b""}, "\ud800", {None: 1}])
def test_what_json_does_not_have_is_rejected(value):
    with pytest.raises(ConfigError, match="no canonical JSON form"):
        canonical_json(value)


def test_digests_are_plain_sha256():
    assert sha256_hex(b"abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert sha256_hex(memoryview(b"abc")) == sha256_hex(b"abc")


def test_an_action_key_is_the_digest_of_the_request():
    """The bytes are spelled out here: a change of this key would forget every result ever made."""
    request = b'{"config":{"size":256},"inputs":{"images":"ab"},"stage":"tile","version":1}'
    assert action_key("tile", 1, {"images": "ab"}, {"size": 256}) == hashlib.sha256(request).hexdigest()


@pytest.mark.parametrize(
    "other",
    [
        ("shard", 1, {"a": "1"}, {"b": 2}),
        ("tile", 2, {"a": "1"}, {"b": 2}),
        ("tile", 1, {"a": "2"}, {"b": 2}),
        ("tile", 1, {"a": "1"}, {"b": 3}),
    ],
)
def test_every_part_of_a_request_enters_its_key(other):
    assert action_key("tile", 1, {"a": "1"}, {"b": 2}) != action_key(*other)
