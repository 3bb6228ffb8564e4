"""Lists of web addresses from the row to the shard: fetched once, rejected one by one, the same ever after."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from data_prep import fetch as room
from data_prep.assemble import images_manifest
from data_prep.config import ShardConfig, SourceConfig
from data_prep.fetched import Fetched, copies
from data_prep.inspection import Inspected, inspect_items
from data_prep.planning import Plan, plan
from data_prep.shard import build_shard_to_store
from data_prep.sources import Snapshot, list_source, source_root
from lsr.core.config import check
from lsr.core.errors import ConfigError, InputError
from lsr.core.settings import load_settings
from lsr.data.manifest import Manifest
from lsr.data.shards import SampleReader
from lsr.store import open_store

from .conftest import encode, make_image
from .test_shard import skipped
from .web import Handler, Page, Web, serving

RULES = ShardConfig(max_file_bytes=20_000)
IMAGES = [encode(make_image(n)) for n in range(3)]


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Iterator[Web]:
    """A server on this machine, where addresses of this machine may be read."""
    monkeypatch.setattr(room, "WAITS", (0.0, 0.0))
    monkeypatch.setenv("LSR_FETCH_PRIVATE", "1")
    with serving() as server:
        yield server


def giving(data: bytes) -> Page:
    return lambda handler: handler.reply(data)


def listed(folder: Path, rows: list[dict[str, Any]], fetch: str = "one") -> Snapshot:
    path = folder / "l.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return list_source(SourceConfig(uri=f"list:{path}", name="demo", fetch=fetch), folder)


def inspected(store_uri: str, snapshot: Snapshot, config: ShardConfig = RULES) -> list[Inspected]:
    return inspect_items(store_uri, source_root(snapshot.uri, Path()), snapshot.items, config)


def built(store_uri: str, snapshot: Snapshot, planned: Plan) -> Manifest:
    root = source_root(snapshot.uri, Path())
    rows = [build_shard_to_store(store_uri, root, images, RULES) for images in planned.shards]
    return images_manifest(open_store(store_uri), "demo", planned, rows, RULES)


def test_a_list_of_web_addresses_becomes_shards_and_each_is_asked_once(
    web: Web, tmp_path: Path, store_uri: str
) -> None:
    (tmp_path / "here.png").write_bytes(IMAGES[2])
    web.pages = {
        "/a.png": giving(IMAGES[0]),
        "/b.png?v=1": giving(IMAGES[1]),
        "/gone.png": lambda handler: handler.reply(status=404),
        "/large.png": giving(bytes(30_000)),
        "/text": giving(b"<html>no image</html>"),
    }
    rows = [{"uri": web.url(path), "caption": f"of {path}"} for path in web.pages] + [{"uri": "here.png"}]
    snapshot = listed(tmp_path, rows)
    assert not web.asked, "listing asks nobody"
    assert {item.pin for item in snapshot.items if item.key != "here.png"} == {"fetch:one"}
    planned = plan(inspected(store_uri, snapshot), RULES)
    manifest = built(store_uri, snapshot, planned)
    assert dict(web.asked) == dict.fromkeys(web.pages, 1)
    reader = SampleReader(open_store(store_uri), manifest)
    found = {reader.row(i).source: reader.read(i) for i in range(len(reader))}
    assert {source: members["png"] for source, members in found.items()} == {
        web.url("/a.png"): IMAGES[0],
        web.url("/b.png?v=1"): IMAGES[1],
        "here.png": IMAGES[2],
    }
    assert found[web.url("/a.png")]["txt"] == b"of /a.png"
    reasons = {row["source"]: row["reason"] for row in skipped(store_uri, manifest)}
    assert reasons[web.url("/gone.png")] == "It answers 404."
    assert reasons[web.url("/large.png")] == "It has more bytes than max_file_bytes = 20000."
    assert "not an image of a known format" in reasons[web.url("/text")]
    again = plan(inspected(store_uri, snapshot), RULES)
    assert built(store_uri, snapshot, again).digest == manifest.digest
    assert web.asked.total() == len(web.pages), "a second run asks nobody"


def test_what_changes_on_the_web_changes_nothing_until_the_fetch_has_another_name(
    web: Web, tmp_path: Path, store_uri: str
) -> None:
    web.pages = {"/a.png": giving(IMAGES[0])}
    snapshot = listed(tmp_path, [{"uri": web.url("/a.png")}])
    (first,) = inspected(store_uri, snapshot)
    web.pages = {"/a.png": giving(IMAGES[1])}
    (other_rules,) = inspected(store_uri, snapshot, replace(RULES, min_side=8))
    assert other_rules.sha256 == first.sha256
    manifest = built(store_uri, snapshot, plan([first], RULES))
    assert SampleReader(open_store(store_uri), manifest).read(0)["png"] == IMAGES[0]
    renamed = listed(tmp_path, [{"uri": web.url("/a.png")}], fetch="two")
    assert renamed.digest != snapshot.digest
    (second,) = inspected(store_uri, renamed)
    assert second.sha256 != first.sha256
    assert web.asked["/a.png"] == 2


def test_of_two_who_fetch_at_the_same_time_both_take_the_first_ones_bytes(
    web: Web, tmp_path: Path, store_uri: str
) -> None:
    (item,) = listed(tmp_path, [{"uri": web.url("/a.png")}]).items

    def overtaken(handler: Handler) -> None:
        web.pages["/a.png"] = giving(b"first")
        assert Fetched(open_store(store_uri), 100).read(item) == b"first"
        handler.reply(b"second")

    web.pages["/a.png"] = overtaken
    assert Fetched(open_store(store_uri), 100).read(item) == b"first"
    assert web.asked["/a.png"] == 2


@pytest.mark.parametrize("page", [giving(IMAGES[1]), lambda handler: handler.reply(status=404)])
def test_without_its_copy_a_changed_address_is_rejected_in_words(
    web: Web, tmp_path: Path, store_uri: str, page: Page
) -> None:
    web.pages = {"/a.png": giving(IMAGES[0])}
    snapshot, store = listed(tmp_path, [{"uri": web.url("/a.png")}]), open_store(store_uri)
    planned = plan(inspected(store_uri, snapshot), RULES)
    (copy,) = copies(store, web.url("/a.png"))
    store.delete(copy)
    web.pages = {"/a.png": page}
    with pytest.raises(InputError, match=r"/a\.png .* give source\.fetch another name to take what is there now"):
        built(store_uri, snapshot, planned)


def test_a_server_that_was_down_is_asked_again_and_the_others_are_not(web: Web, tmp_path: Path, store_uri: str) -> None:
    down = [True]

    def page(handler: Handler) -> None:
        handler.reply(status=503) if down[0] else handler.reply(IMAGES[0])

    web.pages = {"/a.png": giving(IMAGES[1]), "/b.png": page, "/c.png": lambda handler: handler.reply(status=404)}
    snapshot = listed(tmp_path, [{"uri": web.url(path)} for path in web.pages])
    with pytest.raises(InputError, match=r"2 of 3 images are rejected.*It answers 503\..*It answers 404\."):
        plan(inspected(store_uri, snapshot), replace(RULES, max_rejected=0.5))
    down[0] = False
    assert [found.reason for found in inspected(store_uri, snapshot)] == [None, None, "It answers 404."]
    assert dict(web.asked) == {"/a.png": 1, "/b.png": 4, "/c.png": 2}
    inspected(store_uri, snapshot)
    assert dict(web.asked) == {"/a.png": 1, "/b.png": 4, "/c.png": 2}, "an address that answered is not asked again"


def test_this_machine_is_not_read_unless_the_surroundings_allow_it(
    web: Web, tmp_path: Path, store_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.pages = {"/a.png": giving(IMAGES[0])}
    snapshot = listed(tmp_path, [{"uri": web.url("/a.png")}])
    monkeypatch.setenv("LSR_FETCH_PRIVATE", "0")
    (found,) = inspected(store_uri, snapshot)
    assert "It leads to 127.0.0.1, which is not public; set LSR_FETCH_PRIVATE=1" in str(found.reason)
    assert not web.asked
    monkeypatch.setenv("LSR_FETCH_PRIVATE", "1")
    assert inspected(store_uri, snapshot)[0].reason is None
    with pytest.raises(ConfigError, match="LSR_FETCH_PRIVATE must be 0 or 1, found 'yes'"):
        load_settings({"LSR_FETCH_PRIVATE": "yes"})


def test_addresses_are_read_ahead_in_order_and_few_are_held(web: Web, tmp_path: Path, store_uri: str) -> None:
    lock, now, most = threading.Lock(), [0], [0]

    def page(number: int) -> Callable[[Handler], None]:
        def slow(handler: Handler) -> None:
            with lock:
                now[0] += 1
                most[0] = max(most[0], now[0])
            time.sleep(0.05)
            with lock:
                now[0] -= 1
            handler.reply(b"%d" % number)

        return slow

    paths = [f"/{number:02}" for number in range(30)]
    web.pages = {path: page(number) for number, path in enumerate(paths)}
    items = listed(tmp_path, [{"uri": web.url(path)} for path in paths]).items
    coming = Fetched(open_store(store_uri), 100).ahead(items)
    assert next(coming) == b"0"
    time.sleep(0.5)
    assert web.asked.total() == room.AT_ONCE, "nothing is fetched that there is no room for"
    assert list(coming) == [b"%d" % number for number in range(1, 30)]
    assert 1 < most[0] <= room.AT_ONCE


def test_a_smaller_limit_holds_for_what_is_kept_too(web: Web, tmp_path: Path, store_uri: str) -> None:
    web.pages = {"/a.png": giving(IMAGES[0])}
    snapshot = listed(tmp_path, [{"uri": web.url("/a.png")}])
    assert inspected(store_uri, snapshot)[0].reason is None
    (found,) = inspected(store_uri, snapshot, replace(RULES, max_file_bytes=100))
    assert found.reason == "It has more bytes than max_file_bytes = 100."


@pytest.mark.parametrize(
    ("uri", "fetch", "says"),
    [
        ("https://h/a.png", "", "Row 1 .* has the web address 'https://h/a.png', and those are read only where"),
        ("HTTP://h/a.png", "", "Row 1 .* only where source.fetch names the fetch"),
        ("https:///a.png", "x", "Row 1 .* names no host"),
        ("https://h:x/a.png", "x", "Row 1 .* names no host"),
        ("https://[h/a.png", "x", "Row 1 .* names no host"),
        ("https://me:secret@h/a.png", "x", "Row 1 .* a user's name in it"),
    ],
)
def test_an_address_that_will_not_do_is_named_before_anything_is_read(
    tmp_path: Path, uri: str, fetch: str, says: str
) -> None:
    with pytest.raises(InputError, match=says) as caught:
        listed(tmp_path, [{"uri": uri}], fetch)
    assert "secret" not in str(caught.value)


def test_a_fetch_without_a_list_is_a_fault() -> None:
    with pytest.raises(ConfigError, match="fetch is for the web addresses of a list: source, found 'x' with uri '/f'"):
        check(SourceConfig(uri="/f", name="n", fetch="x"))
    check(SourceConfig(uri="list:/l.csv", name="n", fetch="x"))
