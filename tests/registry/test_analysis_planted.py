"""40 records with 8 faults among ordinary noise: all are named by mechanism, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from telepathy.experiments.analysis import Analysis, analyze
from tests.registry.planting import Garden

TASKS = ("arc_easy", "winogrande", "hellaswag", "boolq")
BRIDGE = {"arc_easy": 0.62, "winogrande": 0.71, "hellaswag": 0.55, "boolq": 0.82}
CONTROLS = {"arc_easy": 0.25, "winogrande": 0.5, "hellaswag": 0.25, "boolq": 0.55}
_OOM = ("step 3", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate {gb} GiB.")


def plant(folder: Path, seed: int) -> Garden:
    """25 runs that are well, 2 that look so, 13 that failed."""
    garden = Garden(folder, seed)
    _healthy(garden)
    _failing(garden)
    _suspicious(garden)
    assert len({record.key for record in garden.records}) == 40
    return garden


def _healthy(garden: Garden) -> None:
    for task in TASKS[:3]:
        for seed in (0, 1, 2):
            # Seeds differ a little in truth, too; host and length vary without effect.
            methods = {"bridge": BRIDGE[task] + garden.random.uniform(-0.01, 0.01)}
            methods |= dict.fromkeys(("zero", "shuffled", "mean"), CONTROLS[task])
            run = garden.begun(task, "bridge", seed, host=f"node-{1 + seed}")
            if (task, seed) == ("arc_easy", 1):  # failed once, then succeeded
                run = garden.again(garden.failed(run, ["ConnectionError: reset"], times=1))
            garden.completed(run, methods)
        garden.completed(garden.begun(task, "text_relay", 0), {"text_relay": BRIDGE[task] + 0.03})
        # A weak baseline, well above chance.
        weak = CONTROLS[task] + 0.2
        garden.completed(garden.begun(task, "ridge", 0, host="node-3"), {"ridge": weak})
    for seed in (0, 1, 2):
        for length, batch in ((1024, 4), (256, 16)):
            run = garden.begun(
                "boolq",
                "bridge",
                seed,
                max_tokens=length,
                batch_size=batch,
                host=f"node-{2 + seed}",
            )
            garden.completed(run, {"bridge": BRIDGE["boolq"], "zero": CONTROLS["boolq"]})
    garden.completed(garden.begun("boolq", "text_relay", 0), {"text_relay": BRIDGE["boolq"]})
    garden.completed(garden.begun("boolq", "ridge", 0), {"ridge": 0.82})
    garden.preempted(garden.begun("winogrande", "cot_relay", 0), times=3)  # goes on
    garden.completed(garden.begun("winogrande", "ensemble", 0), {"ensemble": 0.68})


def _failing(garden: Garden) -> None:
    for i, task in enumerate(("boolq", "arc_easy", "hellaswag")):  # 1: batch x length
        run = garden.begun(task, "lora", i, batch_size=16, max_tokens=1024, host=f"node-{1 + i}")
        garden.failed(run, [line.format(gb=f"{2.5 + i}") for line in _OOM])
    for i, task in enumerate(("winogrande", "boolq")):  # 2: a high learning rate
        run = garden.begun(task, "bridge", i, lr=0.03, host=f"node-{1 + i}")
        garden.failed(run, [f"NonFiniteError: Step {7 + i}: loss nan, gradient norm nan."])
    for i, task in enumerate(("arc_easy", "hellaswag")):  # 3: a partition that preempts
        run = garden.begun(task, "dora", i, config={"partition": "preempt"}, host=f"node-{1 + i}")
        garden.preempted(run)
    for i in range(2):  # 4: the data of one task
        run = garden.begun("commonsense_qa", "bridge", i, host=f"node-{1 + i}")
        path = "data/commonsense_qa/validation.jsonl"
        garden.failed(run, [f"FileNotFoundError: [Errno 2] No such file or directory: '{path}'"])
    for i, task in enumerate(("arc_easy", "boolq")):  # 5: a package on one host
        run = garden.begun(task, "prompt_tuning", i, host="node-7")
        garden.failed(run, ["ModuleNotFoundError: No module named 'peft'"])
    for i, task in enumerate(("winogrande", "hellaswag")):  # 6: the disk of another
        run = garden.begun(task, "linear_probe", i, host="node-9")
        garden.failed(run, [f"OSError: [Errno 28] No space left on device: '/scratch/{i}/x'"])


def _suspicious(garden: Garden) -> None:
    garden.completed(  # 7: always the same answer
        garden.begun("arc_easy", "compressed_text", 0), {"compressed_text": lambda i, t: 2}
    )
    garden.completed(  # 8: a control that knows
        garden.begun("hellaswag", "other_task", 0), {"bridge": 0.55, "random": 0.47}
    )


def said(found: Analysis) -> set[tuple[str, str]]:
    """Kind and condition, or kind and task and method, of all faults that were found."""
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
def test_all_planted_faults_are_named_and_no_other(tmp_path: Path, seed: int) -> None:
    found = analyze(plant(tmp_path, seed).registry())
    assert said(found) == EXPECTED
