"""Signals that end a run, held back while something must not be cut short."""

from __future__ import annotations

import signal

import pytest

from zobench.run import stopping


def test_one_that_came_inside_two_is_heard_when_the_outer_is_over(monkeypatch):
    monkeypatch.setattr(stopping, "_heard", type(stopping._heard)())
    went = []
    with pytest.raises(KeyboardInterrupt), stopping.held():
        with stopping.held():
            stopping._hear(signal.SIGINT, None)
            went.append("inner")
        went.append("outer")
    assert went == ["inner", "outer"] and not stopping._heard.held and not stopping._heard.waits
    with stopping.held():
        pass  # it was heard once
