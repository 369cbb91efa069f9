"""Schedule, order of examples, settings."""

from __future__ import annotations

import subprocess
import sys

import pytest

from latentwire.core.errors import ConfigError
from latentwire.train.config import TrainConfig
from latentwire.train.data_order import BatchPlan, batch_indices, lr_factor


def test_schedule_warms_up_and_ends_near_zero() -> None:
    values = [lr_factor(step, 100, 10) for step in range(100)]
    assert values[0] == pytest.approx(0.1) and values[9] == pytest.approx(1.0)
    assert values[10:] == sorted(values[10:], reverse=True)
    assert 0 <= values[-1] < 0.01
    assert lr_factor(0, 1, 0) == 1.0


def test_every_epoch_sees_every_example_once() -> None:
    n, size = 10, 4
    seen = [i for batch in range(5) for i in batch_indices(n, size, batch, seed=3)]
    assert sorted(seen[:10]) == list(range(10)) and sorted(seen[10:]) == list(range(10))
    assert seen[:10] != seen[10:]
    assert batch_indices(n, size, 2, seed=3) == seen[8:12]


def test_one_task_is_drawn_as_without_a_plan() -> None:
    plan = BatchPlan([10], 4, 6, seed=3, mixing="proportional")
    assert [plan.batch(m) for m in range(6)] == [(0, batch_indices(10, 4, m, 3)) for m in range(6)]


@pytest.mark.parametrize(("mixing", "share"), [("proportional", 0.9), ("equal", 0.5)])
def test_tasks_are_mixed_as_asked_and_read_in_order(mixing: str, share: float) -> None:
    plan = BatchPlan([90, 10], 5, 2000, seed=1, mixing=mixing)
    batches = [plan.batch(m) for m in range(2000)]
    assert sum(task == 0 for task, _ in batches) / 2000 == pytest.approx(share, abs=0.03)
    seen = [i for task, index in batches if task == 1 for i in index]
    assert sorted(seen[:10]) == list(range(10)) and sorted(seen[10:20]) == list(range(10))
    longer = BatchPlan([90, 10], 5, 3000, seed=1, mixing=mixing)  # more steps change no earlier one
    assert [longer.batch(m) for m in range(2000)] == batches


def test_all_wrong_settings_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        TrainConfig.of(steps=0, lr=-1, wat=3)
    text = str(caught.value)
    assert "train.steps" in text and "train.lr" in text and "train.wat" in text
    assert "Known options: steps," in text


def test_config_imports_neither_torch_nor_transformers() -> None:
    code = (
        "import sys\n"
        "from latentwire.train.config import TrainConfig\n"
        "TrainConfig()\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_config_describes_and_groups_each_option() -> None:
    for name, field in TrainConfig.model_fields.items():
        assert field.description and field.description.endswith("."), name
        assert isinstance(field.json_schema_extra, dict) and field.json_schema_extra["group"], name
