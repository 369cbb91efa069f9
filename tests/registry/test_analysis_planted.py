"""Analysis of 40 records with 8 planted faults: it finds these and no others."""

from __future__ import annotations

from pathlib import Path

import pytest

from telepathy.experiments.analysis import Analysis, analyze
from tests.registry.synthetic_registry import SyntheticRegistry

TASKS = ("arc_easy", "winogrande", "hellaswag", "boolq")
BRIDGE = {"arc_easy": 0.62, "winogrande": 0.71, "hellaswag": 0.55, "boolq": 0.82}
CONTROLS = {"arc_easy": 0.25, "winogrande": 0.5, "hellaswag": 0.25, "boolq": 0.55}
_OOM = ("step 3", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {gb} GiB.")


def plant(folder: Path, seed: int) -> SyntheticRegistry:
    """Plant 25 healthy, 2 suspicious and 13 failed runs."""
    fake = SyntheticRegistry(folder, seed)
    _healthy(fake)
    _failing(fake)
    _suspicious(fake)
    assert len({record.key for record in fake.records}) == 40
    return fake


def _healthy(fake: SyntheticRegistry) -> None:
    for task in TASKS[:3]:
        for seed in (0, 1, 2):
            # The true accuracy varies slightly between seeds; the host has no effect.
            methods = {"bridge": BRIDGE[task] + fake.random.uniform(-0.01, 0.01)}
            methods |= dict.fromkeys(("zero", "shuffled", "mean"), CONTROLS[task])
            run = fake.begun(task, "bridge", seed, host=f"node-{1 + seed}")
            if (task, seed) == ("arc_easy", 1):  # failed first, then completed
                run = fake.again(fake.failed(run, ["ConnectionError: reset"], times=1))
            fake.completed(run, methods)
        fake.completed(fake.begun(task, "text_relay", 0), {"text_relay": BRIDGE[task] + 0.03})
        # a weak baseline, above chance
        weak = CONTROLS[task] + 0.2
        fake.completed(fake.begun(task, "ridge", 0, host="node-3"), {"ridge": weak})
    for seed in (0, 1, 2):
        for length, batch in ((1024, 4), (256, 16)):
            run = fake.begun(
                "boolq",
                "bridge",
                seed,
                max_tokens=length,
                batch_size=batch,
                host=f"node-{2 + seed}",
            )
            fake.completed(run, {"bridge": BRIDGE["boolq"], "zero": CONTROLS["boolq"]})
    fake.completed(fake.begun("boolq", "text_relay", 0), {"text_relay": BRIDGE["boolq"]})
    fake.completed(fake.begun("boolq", "ridge", 0), {"ridge": 0.82})
    fake.preempted(fake.begun("winogrande", "cot_relay", 0), times=3)  # can be resumed
    fake.completed(fake.begun("winogrande", "ensemble", 0), {"ensemble": 0.68})


def _failing(fake: SyntheticRegistry) -> None:
    for i, task in enumerate(("boolq", "arc_easy", "hellaswag")):  # 1: large batch of long texts
        run = fake.begun(task, "lora", i, batch_size=16, max_tokens=1024, host=f"node-{1 + i}")
        fake.failed(run, [line.format(gb=f"{2.5 + i}") for line in _OOM])
    for i, task in enumerate(("winogrande", "boolq")):  # 2: high learning rate
        run = fake.begun(task, "bridge", i, lr=0.03, host=f"node-{1 + i}")
        fake.failed(run, [f"NonFiniteError: Step {7 + i}: loss nan, gradient norm nan."])
    for i, task in enumerate(("arc_easy", "hellaswag")):  # 3: preempting partition
        run = fake.begun(task, "dora", i, config={"partition": "preempt"}, host=f"node-{1 + i}")
        fake.preempted(run)
    for i in range(2):  # 4: missing data of one task
        run = fake.begun("commonsense_qa", "bridge", i, host=f"node-{1 + i}")
        path = "data/commonsense_qa/validation.jsonl"
        fake.failed(run, [f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'"])
    for i, task in enumerate(("arc_easy", "boolq")):  # 5: missing package on one host
        run = fake.begun(task, "prompt_tuning", i, host="node-7")
        fake.failed(run, ["ModuleNotFoundError: No module named 'peft'"])
    for i, task in enumerate(("winogrande", "hellaswag")):  # 6: full disk of another host
        run = fake.begun(task, "linear_probe", i, host="node-9")
        fake.failed(run, [f"OSError: [Errno 28] No space left on device: '/scratch/{i}/x'"])


def _suspicious(fake: SyntheticRegistry) -> None:
    fake.completed(  # 7: a constant answer
        fake.begun("arc_easy", "compressed_text", 0), {"compressed_text": lambda i, t: 2}
    )
    fake.completed(  # 8: a control above chance
        fake.begun("hellaswag", "other_task", 0), {"bridge": 0.55, "random": 0.47}
    )


def findings_of(found: Analysis) -> set[tuple[str, str]]:
    """Kind and condition of all failures, kind and task and method of all suspicions."""
    failed = {(f.kind, str(f.data["condition"])) for f in found.failures}
    return failed | {(f.kind, " ".join(f.about)) for f in found.suspicions}


EXPECTED = {
    ("out-of-memory", "train.batch_size 16 and train.max_tokens 1024"),
    ("nan", "train.lr 0.03"),
    ("preempted", "partition preempt"),
    ("data", "task commonsense_qa"),
    ("import", "host node-7"),
    ("disk", "host node-9"),
    ("collapsed predictions", "arc_easy compressed_text"),
    ("control above chance", "hellaswag random"),
}


@pytest.mark.parametrize("seed", range(20))
def test_analyze_finds_exactly_the_planted_faults(tmp_path: Path, seed: int) -> None:
    found = analyze(plant(tmp_path, seed).registry())
    assert findings_of(found) == EXPECTED
