"""The two complete data sets that are installed as packages."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

import pytest

from latentwire.core.files import fingerprint
from latentwire.data import load_task
from latentwire.data.spec import SPLITS

pytestmark = pytest.mark.real


def ids(task: Any) -> str:
    return fingerprint({name: [example.id for example in task.split(name)] for name in SPLITS})


def test_bbc_news_has_its_official_rows() -> None:
    start = time.perf_counter()
    task = load_task("bbc_news")
    sizes = task.sizes()
    assert time.perf_counter() - start < 2
    assert sizes == {"train": 1473, "val": 210, "test": 420} and sum(sizes.values()) == 2103
    assert "122 duplicate train rows dropped" in task.notes()
    assert not any("subset" in note for note in task.notes())
    starts = [e.context.lower()[:120] for name in SPLITS for e in task.split(name)]
    assert len(set(starts)) == 2103
    shares = Counter(e.references[0] for e in task.split("test"))
    assert set(shares) == set(task.labels) and min(shares.values()) > 60
    assert ids(task) == "beee6dd9a20d8bc7"


def test_tweet_sentiment_has_its_official_rows() -> None:
    task = load_task("tweet_sentiment")
    assert task.sizes() == {"train": 8253, "val": 1179, "test": 2357}
    assert task.majority == pytest.approx(0.828, abs=1e-3)
    assert "\ufffd" not in "".join(e.context for e in task.split("test"))
    assert ids(task) == "83be48c948852b38"
