"""Tables for documents: every task in its column, marks only for what tests have shown."""

from __future__ import annotations

from typing import Any

from telepathy.reporting.results import results_table, suites_markdown
from telepathy.reporting.sentences import bridge_sentences, is_weak
from telepathy.reporting.table import Column, Table


def test_several_tasks_stand_side_by_side_with_marks_for_what_is_shown() -> None:
    better = _compared("lora", -0.2, 0.01)
    worse = _compared("zero", 0.3, 0.04)
    found = [
        _results("sst2", {"bridge": 0.7, "lora": 0.9, "zero": 0.4}, [better, worse]),
        _results("boolq", {"bridge": 0.6, "lora": 0.8}, [_compared("lora", -0.2, 0.06)]),
    ]
    page = suites_markdown(found)
    assert page.startswith("## All tasks\n\n| method | sst2 | boolq |\n")
    assert "| `lora` | 90.0 (85.0 - 95.0) ▲ | 80.0 (75.0 - 85.0) |" in page
    assert "| `zero` | 40.0 (35.0 - 45.0) ▼ |  |" in page
    assert "▲ better than bridge" in page and page.count("## ") == 3


def test_one_task_needs_no_overview() -> None:
    page = suites_markdown([_results("sst2", {"bridge": 0.7}, [])])
    assert page.startswith("## sst2\n") and "▲" not in page


def test_a_baseline_that_loses_to_what_it_should_beat_is_called_weak() -> None:
    found = _results("sst2", {"bridge": 0.7, "lora": 0.9}, [])
    checks = [("lora", 0.2, 0.01), ("prompt_tuning", -0.1, 0.01), ("fewshot", -0.2, 0.06)]
    found["checks"] = [{**_compared("zeroshot", d, p), "a": name} for name, d, p in checks]
    page = suites_markdown([found])
    assert "- lora is better than zeroshot, as it should be: +20.0 (+10.0 to +30.0) points" in page
    assert "- Weak baseline: prompt_tuning is worse than zeroshot: -10.0 " in page
    assert "- The difference between fewshot and zeroshot is not significant: -20.0 " in page
    assert [is_weak(check) for check in found["checks"]] == [False, True, False]


def _results(
    task: str, accuracies: dict[str, float], comparisons: list[dict[str, Any]]
) -> dict[str, Any]:
    rows = {
        name: {
            "about": f"does {name}",
            "bytes": None,
            "unparsed": 0,
            "metrics": {
                "acc": {
                    "value": value,
                    "ci_low": value - 0.05,
                    "ci_high": value + 0.05,
                    "n": 100,
                    "n_seeds": 3,
                }
            },
        }
        for name, value in accuracies.items()
    }
    return {
        "task": task,
        "split": "test",
        "n": 100,
        "metric": "acc",
        "chance": 0.5,
        "pair": {"sender": "a", "receiver": "b"},
        "methods": rows,
        "comparisons": comparisons,
        "verdicts": [],
        "checks": [],
        "notes": [],
    }


def _compared(name: str, difference: float, p: float) -> dict[str, Any]:
    interval = {"ci_low": difference - 0.1, "ci_high": difference + 0.1}
    return {"a": "bridge", "b": name, "difference": difference, "p_adjusted": p, **interval}


def test_table_hides_columns_on_a_narrow_terminal_and_keeps_every_digit() -> None:
    columns = [Column("name", left=True), Column("about", left=True, wraps=True, hide=1)]
    table = Table([*columns, Column("value")], "Title")
    table.add("a", "some words that are far too long for it", "12,345")
    assert table.lines(None)[0] == "Title" and table.lines(None)[3].endswith("12,345")
    assert len(table.lines(None)) == 4
    wrapped = table.lines(36)
    assert max(map(len, wrapped)) <= 36 and len(wrapped) > 4 and "12,345" in wrapped[3]
    narrow = table.lines(20)
    assert "about" not in narrow[1] and "12,345" in narrow[3]
    assert " ".join(narrow[4:]) == "Hidden on this narrow terminal: about."


def test_table_in_markdown_escapes_bars_and_aligns_numbers() -> None:
    table = Table([Column("name", left=True, code=True), Column("value")])
    table.add("a", "1|2")
    assert table.markdown() == ["| name | value |", "|---|---:|", "| `a` | 1\\|2 |"]


def test_results_table_leaves_out_columns_without_content() -> None:
    found = _results("sst2", {"bridge": 0.7, "zero": 0.5}, [_compared("zero", 0.2, 0.01)])
    titles = [column.title for column in results_table(found).columns]
    assert titles == [
        *("method", "what it is", "accuracy %", "95 % interval", "n", "seeds"),
        *("bridge minus it", "p (Holm)"),
    ]


def test_bridge_sentences_report_missing_evidence() -> None:
    found = _results("sst2", {"bridge": 0.7, "zero": 0.68, "random": 0.5}, [])
    found["asked"] = {"setting": "blind"}
    found["methods"]["bridge"]["bytes"] = 1000
    sentences = bridge_sentences(found)
    assert sentences[0].startswith("From 1,000 bytes of soft tokens alone, the receiver answers")
    assert "no evidence that the messages carry information" in sentences[1]
    found["methods"]["zero"]["metrics"]["acc"]["ci_high"] = 0.6
    assert "the messages carry information about the text" in bridge_sentences(found)[1]
    assert sentences[-1].startswith("No verdict")
