"""A thread beside a block: it runs while the block does, and is over when the block is, however that ends."""

from __future__ import annotations

import threading

import pytest

from lsr.core.background import beside


@pytest.mark.parametrize("fails", [False, True])
def test_the_work_is_over_when_the_block_is(fails: bool) -> None:
    began, ended = threading.Event(), threading.Event()

    def work(stop: threading.Event) -> None:
        began.set()
        assert stop.wait(30)
        ended.set()

    try:
        with beside(work, "beside-test"):
            assert began.wait(30)
            assert not ended.is_set()
            if fails:
                raise LookupError
    except LookupError:
        assert fails
    assert ended.is_set()
    assert "beside-test" not in {thread.name for thread in threading.enumerate()}
