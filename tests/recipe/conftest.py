"""An untrained fake pair, and a context of it for methods."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from latentwire import Task, Wire
from latentwire.eval.context import Context


@pytest.fixture
def pair(fake_wire: Callable[..., Wire]) -> Wire:
    """An untrained wire: two loaded models."""
    return fake_wire()


@pytest.fixture
def context(make_task: Callable[..., Task], pair: Wire) -> Callable[..., Context]:
    colours = make_task()

    def make(
        task: Task = colours, options: Mapping[str, Any] | None = None, **fields: Any
    ) -> Context:
        given = {"prompt_val_limit": 6, **fields}
        options = {"relay_tokens": 6, "shots": 3, **(options or {})}
        return Context(task, pair.sender, pair.receiver, layers=(2,), options=options, **given)

    return make
