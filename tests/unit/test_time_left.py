"""The remaining time of an evaluation is estimated from the methods that have run."""

from __future__ import annotations

from latentwire.eval.time_left import TimeLeft

MINUTE = 60.0
ASKED = False
TRAINED = True


def test_time_left_is_estimated_by_method_and_by_kind() -> None:
    now = 0.0
    units = [
        ("bridge", TRAINED),
        ("bridge", TRAINED),
        ("zero", ASKED),
        ("zero", ASKED),
        ("zeroshot_receiver", ASKED),
        ("lora", TRAINED),
    ]
    clock = TimeLeft(units, lambda: now)

    def run(minutes: float) -> None:
        nonlocal now
        now += minutes * MINUTE
        clock.done(reused=False)

    assert clock.line("bridge, seed 0") == "[1/6] bridge, seed 0"
    run(10)
    assert clock.line("bridge, seed 1") == "[2/6] bridge, seed 1"  # no untrained method yet
    run(8)
    assert clock.line("x") == "[3/6] x"
    run(1)
    # zero as its other seed, zeroshot_receiver as untrained methods, lora as trained ones
    assert clock.line("zero, seed 1").endswith("(about 11 min left in total)")
    run(1)
    run(3)
    assert clock.line("lora").startswith("[6/6] lora (about 9 min")


def test_time_left_ignores_reused_answers() -> None:
    now = 0.0
    clock = TimeLeft([("zero", ASKED), ("mean", ASKED), ("shuffled", ASKED)], lambda: now)
    clock.done(reused=True)
    assert clock.line("mean") == "[2/3] mean"
    now = 2 * MINUTE
    clock.done(reused=False)
    assert clock.line("shuffled") == "[3/3] shuffled (about 2 min left in total)"
