"""The time a suite still takes is told from what was run, and only where something is known."""

from __future__ import annotations

from latentwire.eval.time_left import SuiteClock

MINUTE = 60.0


def test_time_left_is_told_by_method_and_by_kind() -> None:
    now = 0.0
    names = ["bridge", "bridge", "zero", "zero", "zeroshot_receiver", "lora"]
    clock = SuiteClock(names, lambda: now)

    def ran(minutes: float) -> None:
        nonlocal now
        now += minutes * MINUTE
        clock.done(reused=False)

    assert clock.line("bridge, seed 0") == "[1/6] bridge, seed 0"
    ran(10)
    assert clock.line("bridge, seed 1") == "[2/6] bridge, seed 1"  # nothing is known of asking
    ran(8)
    assert clock.line("x") == "[3/6] x"
    ran(1)
    # zero as its other seed, zeroshot as what is asked, lora as what is trained.
    assert clock.line("zero, seed 1").endswith("(about 11 min left for all)")
    ran(1)
    ran(3)
    assert clock.line("lora").startswith("[6/6] lora (about 9 min")


def test_what_was_there_already_is_no_measure() -> None:
    now = 0.0
    clock = SuiteClock(["zero", "mean", "shuffled"], lambda: now)
    clock.done(reused=True)
    assert clock.line("mean") == "[2/3] mean"
    now = 2 * MINUTE
    clock.done(reused=False)
    assert clock.line("shuffled") == "[3/3] shuffled (about 2 min left for all)"
