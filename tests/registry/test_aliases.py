"""MLflow's aliases are an image of the log: drawn, compared, repaired; inference trusts the log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from lsr.core.errors import ConfigError, ConflictError, NotFoundError
from lsr.registry.aliases import Change, drift, reconcile, resolve_for_inference
from lsr.registry.connect import connect
from lsr.registry.promotion import promote, put_verdict, retire, rollback
from lsr.registry.versions import Version, aliases_of
from lsr.store import Store


def crown(store: Store, judged: Callable, version: Version, today: Version | None = None) -> None:
    promote(store, version, put_verdict(store, judged(version, today)), who="ada")


def test_aliases_follow_promotion_and_rollback(
    store: Store, uri: str, registered: Callable[[int], list[Version]], judged: Callable
) -> None:
    one, two, _ = registered(3)
    reconcile(store, uri, "m")
    assert aliases_of(uri, "m") == {"challenger": 3}
    crown(store, judged, one)
    crown(store, judged, two, today=one)
    reconcile(store, uri, "m")
    assert aliases_of(uri, "m") == {"challenger": 3, "champion": 2, "previous": 1}
    rollback(store, "m", who="ada", reason="r")
    reconcile(store, uri, "m")
    assert aliases_of(uri, "m") == {"challenger": 3, "champion": 1}


def test_drift_is_rejected_by_inference_and_repaired(
    store: Store, uri: str, registered: Callable[[int], list[Version]], judged: Callable
) -> None:
    one, two = registered(2)
    crown(store, judged, one)
    crown(store, judged, two, today=one)
    reconcile(store, uri, "m")
    assert resolve_for_inference(store, uri, "m@champion") == two
    client = connect(uri)
    client.set_registered_model_alias("m", "champion", "1")
    client.delete_registered_model_alias("m", "previous")
    with pytest.raises(ConflictError, match="points to version 1, the promotion log says version 2"):
        resolve_for_inference(store, uri, "m@champion")
    assert resolve_for_inference(store, uri, "m/1") == one
    wanted = [Change(alias="previous", found=None, put=1), Change(alias="champion", found=1, put=2)]
    assert drift(store, uri, "m") == wanted
    assert reconcile(store, uri, "m") == wanted
    assert reconcile(store, uri, "m") == []
    assert resolve_for_inference(store, uri, "m@champion") == two


def test_a_replaced_database_is_noticed_by_the_digest(
    store: Store, uri: str, registered: Callable[[int], list[Version]], judged: Callable
) -> None:
    (one,) = registered(1)
    crown(store, judged, Version(name="m", number=1, digest="e" * 64, files="f" * 64))
    reconcile(store, uri, "m")
    for spec in ("m@champion", f"m/{one.number}"):
        with pytest.raises(ConflictError, match="database was replaced"):
            resolve_for_inference(store, uri, spec)


def test_missing_names_list_what_there_is(store: Store, uri: str, registered: Callable[[int], list[Version]]) -> None:
    registered(2)
    connect(uri).set_registered_model_alias("m", "mine", "2")
    with pytest.raises(NotFoundError, match="no alias 'champion'; it has versions 1, 2 and aliases mine -> 2"):
        resolve_for_inference(store, uri, "m@champion")
    with pytest.raises(NotFoundError, match=r"no version 9 of model m; it has versions 1, 2"):
        resolve_for_inference(store, uri, "m/9")
    with pytest.raises(NotFoundError, match="the registered models are m"):
        resolve_for_inference(store, uri, "other@champion")
    with pytest.raises(ConfigError, match="name@alias or name/number"):
        resolve_for_inference(store, uri, "m")


def test_a_retired_champion_has_no_alias_and_a_new_registry_may_count_from_one(
    store: Store, uri: str, registered: Callable[[int], list[Version]], judged: Callable
) -> None:
    one, two = registered(2)
    lost = Version(name="m", number=2, digest="e" * 64, files="f" * 64)
    crown(store, judged, lost)
    with pytest.raises(ConflictError, match="lsr models retire m"):
        resolve_for_inference(store, uri, "m/2")
    retire(store, "m", who="ada", reason="the registry was lost")
    reconcile(store, uri, "m")
    assert aliases_of(uri, "m") == {"challenger": 2}
    assert resolve_for_inference(store, uri, "m/2") == two
    crown(store, judged, one)
    reconcile(store, uri, "m")
    assert aliases_of(uri, "m") == {"challenger": 2, "champion": 1}
