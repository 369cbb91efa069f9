"""Parts of the analysis: conditions, failure groups, detectors, fixes, pages."""

from __future__ import annotations

import itertools
import json
import random
from dataclasses import replace
from math import comb
from pathlib import Path
from statistics import NormalDist
from typing import Any

import pytest

from telepathy.experiments.analysis import analyze
from telepathy.experiments.analysis.analyzed_run import AnalyzedRun
from telepathy.experiments.analysis.conditions import fisher_p_value, separating_condition
from telepathy.experiments.analysis.config_keys import compared_options
from telepathy.experiments.analysis.detectors.seeds_and_splits import two_proportions_p_value
from telepathy.experiments.analysis.failure_groups import group_failures
from telepathy.experiments.analysis.fix_application import add_pending, proposals
from telepathy.experiments.config import build_config, read_config
from telepathy.experiments.config import replace as replaced
from telepathy.experiments.manager import analysis, apply_fixes
from telepathy.experiments.registry.record import superseded_keys
from tests.registry.synthetic_registry import SyntheticRegistry


@pytest.fixture
def fake(tmp_path: Path) -> SyntheticRegistry:
    return SyntheticRegistry(tmp_path)


def _suspected(fake: SyntheticRegistry) -> list[str]:
    return [f.kind for f in analyze(fake.registry()).suspicions]


def test_fisher_p_value_of_known_tables() -> None:
    assert fisher_p_value(3, 1, 1, 3) == pytest.approx(17 / 70)  # lady tasting tea
    assert fisher_p_value(4, 0, 0, 7) == pytest.approx(1 / 330)


def test_fisher_p_value_equals_the_hypergeometric_sum() -> None:
    for a, b, c, d in itertools.product((0, 1, 4, 9), repeat=4):
        ks = range(a, min(a + b, a + c) + 1)
        total = sum(comb(a + b, k) * comb(c + d, a + c - k) for k in ks)
        expected = total / comb(a + b + c + d, a + c)
        assert abs(fisher_p_value(a, b, c, d) - expected) < 1e-9


@pytest.mark.parametrize(("p", "q"), [(0.5, 0.7), (0.9, 0.9), (1.0, 0.0), (1.0, 1.0)])
def test_two_proportions_p_value_equals_the_pooled_normal_form(p: float, q: float) -> None:
    n, m = 120, 240
    pooled = (p * n + q * m + 0.5) / (n + m + 1)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)) ** 0.5
    expected = 2 * (1 - NormalDist().cdf(abs(p - q) / error))
    assert abs(two_proportions_p_value(p, n, q, m) - expected) < 1e-9


def test_separating_condition_is_minimal_or_none() -> None:
    failed: list[dict[str, Any]] = [{"batch": 16, "length": n, "seed": n % 3} for n in (600, 1024)]
    well: list[dict[str, Any]] = [{"batch": 16, "length": 256, "seed": s} for s in (0, 1, 2)]
    well += [{"batch": 4, "length": 1024, "seed": s} for s in (0, 1, 2)]
    found = separating_condition(failed, well, ("batch", "length"))
    assert found and str(found) == "batch 16 and length >= 600"
    assert found.sentence.startswith("in 2 of 2 runs") and found.n_other == 6
    one = separating_condition(failed, well[:3] * 2, ("length",))
    assert one and str(one) == "length >= 600"
    assert separating_condition(failed, [*failed, *well], ("batch", "length")) is None
    assert separating_condition(failed[:1], well) is None


def test_group_failures_joins_equal_causes(fake: SyntheticRegistry) -> None:
    for i in range(2):
        run = fake.begun("boolq", "bridge", i)
        fake.failed(run, [f"DataError: /data/{i}/x.jsonl line {i}7 at 0x7f{i} is damaged"])
    fake.failed(fake.begun("boolq", "bridge", 3), ["step 7: loss 0.3"], code=137)
    fake.preempted(fake.begun("boolq", "bridge", 4), times=2)  # not a failure
    groups = group_failures([AnalyzedRun(r, fake.runs / r.key) for r in fake.records])
    assert [(g.kind, len(g.runs)) for g in groups] == [("data", 2), ("out-of-memory", 1)]
    assert groups[0].cause == "DataError: <path> line <n> at <address> is damaged"
    assert groups[1].cause == "exit code 137"


@pytest.mark.parametrize(
    ("methods", "more", "kind"),
    [
        ({"bridge": 0.5}, {}, "accuracy at chance"),
        ({"bridge": lambda i, t: 0}, {}, "collapsed predictions"),
        ({"bridge": 0.7}, {"val": 0.99}, "val and test far apart"),
        ({"bridge": 0.7, "zero": 0.66}, {}, "control above chance"),
        ({"bridge": 0.7, "zero": 0.66}, {"setting": "shared"}, ""),
        ({"bridge": 0.7}, {"loss": lambda x: 1 + x}, "training loss did not fall"),
        ({"bridge": 0.7}, {"loss": lambda x: 0.2 + 4 * (x - 0.6) ** 2}, "training diverged"),
        ({"bridge": 0.7, "zero": 0.5}, {}, ""),
    ],
)
def test_detectors_find_suspicious_results(
    fake: SyntheticRegistry, methods: dict[str, Any], more: dict[str, Any], kind: str
) -> None:
    fake.completed(fake.begun("winogrande", "bridge"), methods, **more)
    assert _suspected(fake) == ([kind] if kind else [])


def test_detectors_find_an_ignored_message(fake: SyntheticRegistry) -> None:
    draw = random.Random(0)
    same = [t if draw.random() < 0.7 else 1 - t for t in fake.targets("winogrande")]
    both = dict.fromkeys(("bridge", "shuffled"), lambda i, t: same[i])
    fake.completed(fake.begun("winogrande", "bridge"), both)
    assert "message ignored" in _suspected(fake)


def test_detectors_find_an_odd_seed(fake: SyntheticRegistry) -> None:
    for seed, accuracy in enumerate((0.8, 0.79, 0.81, 0.58)):
        fake.completed(fake.begun("winogrande", "bridge", seed), {"bridge": accuracy})
    (found,) = analyze(fake.registry()).suspicions
    assert found.kind == "one seed far from the others" and found.data["seed"] == 3


def test_detectors_find_unclear_provenance(fake: SyntheticRegistry) -> None:
    for seed in range(3):
        run = fake.begun("winogrande", "bridge", seed, commit=f"c{seed // 2}", dirty=seed == 0)
        fake.completed(run, {"bridge": 0.8})
    folder = fake.runs / fake.records[1].key
    config = json.loads((folder / "config.json").read_text())
    config["setting"]["train"]["lr"] = 1.0
    (folder / "config.json").write_text(json.dumps(config))
    assert _suspected(fake) == [
        "different commits",
        "result older than its configuration",
        "uncommitted changes",
    ]


def test_apply_fixes_shows_fixes_and_adds_them_once(fake: SyntheticRegistry) -> None:
    line = "torch.OutOfMemoryError: CUDA out of memory."
    config = build_config({"task.name": "boolq", "train.grad_accum": 2, "log_to": ["mlflow"]})
    registry = fake.registry()
    record = registry.start("mine.boolq", config.resolved())
    config.write(registry.folder(record))
    registry.fail(record, error=line)
    own = registry.start("own", {"task": "boolq", "batch_size": 16}, command=["sh", "-c", "x"])
    registry.fail(own, error=line)
    looked = apply_fixes(registry)
    assert looked.exit_code == 1 and not looked.data["written"] and len(registry.records()) == 2
    written = apply_fixes(registry, yes=True)
    (key,) = written.data["written"]
    assert "train.batch_size: 16 -> 8" in "\n".join(written.lines)
    refused = {fix["run"]: fix["refused"] for fix in written.data["fixes"]}
    assert refused[record.key] is None and "runs its own command" in refused[own.key]
    new, old = registry.find(key), registry.find(record.key)
    assert (new.state, new.name) == ("pending", old.name) and new.key != old.key
    changed = read_config(registry.folder(new))
    assert changed == replaced(config, {"train.batch_size": 8, "train.grad_accum": 4})
    assert new.config == changed.resolved() and changed.log_to == ("mlflow",)
    assert new.command == ["python", "-m", "telepathy.run", str(registry.folder(new))]
    assert new.history[0]["note"].startswith(f"fix of {old.key}: out-of-memory")
    assert superseded_keys(registry.records()) == {old.key}
    assert registry.should_run(new.name, new.config).run
    assert not add_pending(registry, proposals(analyze(registry)))


def test_analysis_page_links_to_runs(fake: SyntheticRegistry, tmp_path: Path) -> None:
    done = fake.completed(fake.begun("boolq", "bridge"), {"bridge": 0.9, "zero": 0.5})
    old = fake.begun("boolq", "lora")
    fake.failed(old, ["NonFiniteError: Step 3: loss nan"])
    fake.records.append(replace(old, state="pending", name="waits", history=[]))
    registry = fake.registry()
    page = tmp_path / "docs" / "page.md"
    view = analysis(registry, page)
    text = page.read_text()
    assert f"[{done.key}](../runs/{done.key})" in text and "- **nan**" in text
    assert "▼" not in text  # no table of tasks for one task
    json.dumps(view.data, allow_nan=False)
    assert {"succeeded", "failed", "looks_wrong", "next"} <= view.data.keys()
    assert max(map(len, analysis(registry).lines)) <= 80


def test_analysis_page_shows_tasks_side_by_side(fake: SyntheticRegistry, tmp_path: Path) -> None:
    fake.completed(fake.begun("boolq", "bridge"), {"bridge": 0.9, "zero": 0.5})
    fake.completed(fake.begun("arc_easy", "bridge"), {"bridge": 0.9, "lora": 0.9})
    analysis(fake.registry(), page := tmp_path / "page.md")
    lines = page.read_text().splitlines()
    assert "| method | arc_easy | boolq |" in lines
    rows = {line.split("`")[1]: line for line in lines if line.startswith("| `")}
    assert rows["zero"].endswith(" ▼ |") and rows["lora"].endswith(") |  |")
    assert not {*"▲▼"} & {*rows["lora"]} and not {*"▲▼"} & {*rows["bridge"]}


def test_paired_tests_prefer_the_bridge_evaluated_with_most_methods(
    fake: SyntheticRegistry,
) -> None:
    fake.completed(fake.begun("boolq", "bridge", lr=1e-5), {"bridge": 0.9, "zero": 0.5})
    fake.completed(fake.begun("boolq", "bridge"), {"bridge": 0.7, "lora": 0.8, "zero": 0.5})
    found = analyze(fake.registry())
    assert [r.method for r in found.results] == ["bridge", "bridge", "lora", "zero", "zero"]
    assert {t.a for t in found.tests} == {"bridge (lr=0.0005)"} and len(found.tests) == 4


def test_compared_options_include_the_kind_of_bridge_only() -> None:
    assert compared_options({"kind": "baselines", "seed": 3, "bridge": {"kind": "mlp"}}) == {
        "bridge.kind": "mlp"
    }
    assert compared_options({"kind": "mlp"}) == {"kind": "mlp"}


def test_detectors_merge_methods_at_chance_per_task(fake: SyntheticRegistry) -> None:
    fake.completed(fake.begun("arc_easy", "bridge"), {"bridge": 0.25, "lora": 0.26, "ridge": 0.9})
    fake.completed(fake.begun("winogrande", "bridge"), {"bridge": 0.9, "lora": 0.5})
    found = [f for f in analyze(fake.registry()).suspicions if f.kind == "accuracy at chance"]
    assert [f.about for f in found] == [("arc_easy",), ("winogrande", "lora")]
    assert found[0].statement.startswith("2 methods on arc_easy are not significantly better than")
    assert ": bridge 2" in found[0].statement and ", lora 2" in found[0].statement


def test_pool_results_separates_flat_and_nested_configurations(
    fake: SyntheticRegistry,
) -> None:
    fake.completed(fake.begun("boolq", "bridge"), {"bridge": 0.9})
    nested = fake.begun("boolq", "bridge", config={"eval": {"split": "test"}})
    nested = replace(nested, name="nested", config={**nested.config, "seed": 0})
    fake.completed(nested, {"bridge": 0.8})
    record = fake.records[-1]
    fake.records[-1] = replace(record, config={**record.config, "task": {"name": "boolq"}})
    names = [result.name for result in analyze(fake.registry()).results]
    assert names == ["bridge", "bridge (flat config)"]
