"""What the answers themselves give away: collapse, guessing, leaking controls, odd seeds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from statistics import median

from telepathy.experiments.analysis.detectors import Evidence, detector
from telepathy.experiments.analysis.findings import Finding
from telepathy.experiments.analysis.results import BLIND, CONTROLS, Cell
from telepathy.experiments.analysis.run import Answers
from telepathy.reporting.numbers import count, p_equals, percent, points

COLLAPSED, IGNORED = "collapsed predictions", "message ignored"
AT_CHANCE, CONTROL = "accuracy at chance", "control above chance"
SEED, GAP = "one seed far from the others", "val and test far apart"

_ENOUGH = 20  # examples below which nothing is said
_STRICT = 0.01  # level for all claims of one detector together
_ONE_ANSWER, _FAR_FROM_TARGETS = 0.95, 0.15
_SAME, _MORE_THAN_CHANCE = 0.95, 0.2
_LARGE, _STANDARD_ERRORS = 0.05, 4.0


@detector(COLLAPSED)
def collapsed(evidence: Evidence) -> Iterator[Finding]:
    """Nearly all predictions are one answer where the targets are not."""
    for cell in evidence.cells:
        if cell.method in BLIND:
            continue
        tops = {seed: _commonest(answers) for seed, answers in cell.answers.items()}
        bad = {
            seed: (said, share, right)
            for seed, (said, share, right) in tops.items()
            if share >= _ONE_ANSWER and share - right >= _FAR_FROM_TARGETS
        }
        if not bad:
            continue
        said, share, right = next(iter(bad.values()))
        which = "" if len(bad) == len(tops) else f", {_seeds(bad)}"
        details = []
        if (agreement := _agreement(evidence, cell, next(iter(bad)))) is not None:
            details.append(
                f"With shuffled messages {percent(agreement)} of the answers stay the same"
                + (": the message does not reach them." if agreement >= _SAME else ".")
            )
        yield Finding(
            COLLAPSED,
            f"{cell.name} on {cell.task}{which}: {percent(share)} of the predictions are "
            f"{said!r}, which is right for {percent(right)}.",
            _keys(cell, bad),
            tuple(details),
            (cell.task, cell.method),
            {"answer": said, "share": share, "target_share": right, "seeds": sorted(bad)},
        )


@detector(IGNORED, unless=(COLLAPSED,))
def ignored(evidence: Evidence) -> Iterator[Finding]:
    """Shuffled messages bring the same answers: soft tokens are alike, or are not listened to."""
    for cell in evidence.cells:
        if cell.method != "bridge":
            continue
        found = {}
        for seed, answers in cell.answers.items():
            agreement = _agreement(evidence, cell, seed)
            by_chance = _agreement_by_chance(answers)
            if (
                agreement is not None
                and agreement >= _SAME
                and agreement - by_chance >= _MORE_THAN_CHANCE
            ):
                found[seed] = agreement
        if found:
            yield Finding(
                IGNORED,
                f"{cell.name} on {cell.task}: {percent(min(found.values()))} of the answers stay "
                "the same with the message of another text: soft tokens are all alike, or the "
                "receiver does not use them.",
                _keys(cell, found),
                about=(cell.task, cell.method),
                data={"agreement": found},
            )


@detector(CONTROL)
def control_above_chance(evidence: Evidence) -> Iterator[Finding]:
    """A control knows more than a guess, though the receiver alone sees nothing of the text."""
    asked = []
    for cell in evidence.cells:
        setting = (cell.found.get("asked") or {}).get("setting", "blind")
        if cell.method in CONTROLS and setting == "blind" and cell.majority and cell.values:
            n, guess = len(cell.values), cell.guess
            right = round(sum(cell.values.values()))
            asked.append((cell, right, n, guess))
    if not asked:
        return
    from scipy.stats import binomtest

    from latentwire.eval.statistics import holm_p_values

    each = [binomtest(right, n, g, alternative="greater").pvalue for _, right, n, g in asked]
    for (cell, *_), p_value in zip(asked, holm_p_values(each)):
        if p_value > _STRICT:
            continue
        yield Finding(
            CONTROL,
            f"{cell.name} on {cell.task} gets {_interval(cell)}; a guess gets "
            f"{percent(cell.guess)} ({p_equals(p_value)} after Holm).",
            cell.keys,
            (
                "The receiver has another way to the answer: its prompt, the order of the "
                "examples, or a message that was not tampered with.",
            ),
            (cell.task, cell.method),
            {"score": cell.score, "guess": cell.guess, "p_adjusted": p_value},
        )


def _one_for_each_task(findings: Sequence[Finding]) -> Iterator[Finding]:
    """What is said of many methods of a task with one guess, in one sentence."""
    alike: dict[tuple[str, float], list[Finding]] = {}
    for finding in findings:
        alike.setdefault((finding.about[0], finding.data["guess"]), []).append(finding)
    for (task, guess), group in alike.items():
        if len(group) == 1:
            yield from group
            continue
        listed = ", ".join(f"{f.data['name']} {100 * f.data['score']['value']:.1f}" for f in group)
        yield Finding(
            AT_CHANCE,
            f"{len(group)} methods on {task} are not shown to get more than "
            f"{group[0].data['which']} ({percent(guess)}): {listed}.",
            tuple(dict.fromkeys(key for f in group for key in f.keys)),
            about=(task,),
            data={"guess": guess, "methods": [f.data for f in group]},
        )


@detector(
    AT_CHANCE,
    unless=(COLLAPSED, IGNORED, "training loss did not fall"),
    join=_one_for_each_task,
)
def at_chance(evidence: Evidence) -> Iterator[Finding]:
    """The interval of a method's accuracy reaches down to what a guess gets."""
    for cell in evidence.cells:
        if cell.method in BLIND or not cell.guess or cell.score["n"] < _ENOUGH:
            continue
        if cell.score["ci_low"] <= cell.guess:
            which = "the commonest answer" if cell.majority > cell.chance else "a uniform guess"
            yield Finding(
                AT_CHANCE,
                f"{cell.name} on {cell.task} gets {_interval(cell)}; {which} gets "
                f"{percent(cell.guess)}.",
                cell.keys,
                about=(cell.task, cell.method),
                data={
                    "name": cell.name,
                    "score": cell.score,
                    "chance": cell.chance,
                    "majority": cell.majority,
                    "guess": cell.guess,
                    "which": which,
                },
            )


@detector(SEED, unless=(COLLAPSED, IGNORED))
def odd_seed(evidence: Evidence) -> Iterator[Finding]:
    """One seed lies further from the others than they scatter and than the sample explains.

    The measure is the median of the others; the scale is the largest of how far they lie apart,
    of how far seeds usually lie apart on this page, and the paired sampling error.
    """
    cells = [c for c in evidence.cells if len(c.answers) >= 3]
    usual = median([_spread(_means(c)) for c in cells]) if len(cells) >= 3 else 0.0
    for cell in cells:
        means = _means(cell)
        middle = median(means.values())
        seed = max(means, key=lambda s: abs(means[s] - middle))
        others = {s: value for s, value in means.items() if s != seed}
        off = means[seed] - median(others.values())
        nearest = min(others, key=lambda s: abs(others[s] - median(others.values())))
        error = _paired_error(cell.answers[seed], cell.answers[nearest])
        scale = max(error, usual, _spread(others))
        if len(cell.values) < _ENOUGH or abs(off) < max(_LARGE, _STANDARD_ERRORS * scale):
            continue
        listed = ", ".join(f"{s}: {percent(value)}" for s, value in sorted(means.items()))
        yield Finding(
            SEED,
            f"{cell.name} on {cell.task}: seed {seed} lies {points(off)} from the median of the "
            f"others ({listed}).",
            (cell.runs[seed].key,),
            about=(cell.task, cell.method),
            data={"seed": seed, "difference": off, "by_seed": means, "standard_error": error},
        )


@detector(GAP)
def val_test_gap(evidence: Evidence) -> Iterator[Finding]:
    """Val and test differ by more than their sizes explain, the choice of the best val included."""
    found = []
    n_looks = 0
    for cell in evidence.cells:
        for seed, answers in cell.answers.items() if cell.method == "bridge" else ():
            vals = _val_accuracies(cell, seed)
            n_looks += len(vals)
            if vals and len(answers.values) >= _ENOUGH:
                test = sum(answers.values.values()) / len(answers.values)
                found.append((cell, seed, max(vals), _n_val(vals), test, len(answers.values)))
    for cell, seed, val, n_val, test, n_test in found:
        p_value = min(1.0, _two_shares(val, n_val, test, n_test) * n_looks)
        if p_value > _STRICT or abs(val - test) < _LARGE:
            continue
        yield Finding(
            GAP,
            f"{cell.name} on {cell.task}, seed {seed}: val {percent(val)} (n {n_val}), test "
            f"{percent(test)} (n {n_test}), {p_equals(p_value)} corrected.",
            (cell.runs[seed].key,),
            ("The splits differ, or what was learned is val itself.",),
            (cell.task, cell.method),
            {"val": val, "n_val": n_val, "test": test, "n_test": n_test, "p_corrected": p_value},
        )


def _commonest(answers: Answers) -> tuple[object, float, float]:
    """The commonest prediction, its share, and the share of examples for which it is right."""
    n = len(answers.said)
    if n < _ENOUGH:
        return None, 0.0, 0.0
    said, often = Counter(answers.said.values()).most_common(1)[0]
    right = sum(said == t or (isinstance(t, list) and said in t) for t in answers.targets.values())
    return said, often / n, right / n


def _agreement(evidence: Evidence, bridge: Cell, seed: int) -> float | None:
    """Share of a bridge's answers that stay the same with shuffled messages; None if unknown."""
    for cell in evidence.cells:
        alike = (cell.task, cell.setting) == (bridge.task, bridge.setting)
        if cell.method == "shuffled" and alike and seed in cell.answers:
            a, b = bridge.answers[seed].said, cell.answers[seed].said
            shared = a.keys() & b.keys()
            if len(shared) >= _ENOUGH and bridge.method == "bridge":
                return sum(bool(a[i] == b[i]) for i in shared) / len(shared)
    return None


def _agreement_by_chance(answers: Answers) -> float:
    """How often two answers to different examples are the same."""
    counts, n = Counter(map(str, answers.said.values())), len(answers.said)
    return sum((often / n) ** 2 for often in counts.values())


def _means(cell: Cell) -> dict[int, float]:
    return {seed: sum(a.values.values()) / len(a.values) for seed, a in cell.answers.items()}


def _spread(means: dict[int, float]) -> float:
    """Standard deviation from the range, which for a few normal values is as good.

    Source: Tippett 1925, Biometrika 17 (expected range of n values).
    """
    expected = {1: 1.0, 2: 1.13, 3: 1.69, 4: 2.06, 5: 2.33}.get(len(means), 2.53)
    return (max(means.values()) - min(means.values())) / expected


def _paired_error(a: Answers, b: Answers) -> float:
    """Standard error of the difference of two seeds on the questions they share."""
    gaps = [a.values[i] - b.values[i] for i in a.values.keys() & b.values.keys()]
    if not gaps:
        return 1.0
    mean = sum(gaps) / len(gaps)
    square = sum((gap - mean) ** 2 for gap in gaps) / len(gaps)
    return float((square / len(gaps)) ** 0.5)


def _val_accuracies(cell: Cell, seed: int) -> list[float]:
    """Accuracies of the validations of one training on one task."""
    run = cell.runs[seed]
    folders = [f for f in run.folders if f.name == f"seed-{seed}"] or [run.folder]
    rows = [row["val"] for row in run.curve(folders[0]) if isinstance(row.get("val"), dict)]
    if any("." in key for row in rows for key in row):
        return []  # of several tasks
    return [float(row["accuracy"]) for row in rows if "accuracy" in row]


def _n_val(accuracies: list[float]) -> int:
    """The least number of examples of which all these shares are whole numbers.

    It is not written down anywhere; more there may be, so a test with it claims too little.
    """
    from fractions import Fraction
    from math import lcm

    return lcm(*(Fraction(a).limit_denominator(20_000).denominator for a in accuracies))


def _two_shares(p: float, n: int, q: float, m: int) -> float:
    """Two-sided p-value of two independent shares, pooled normal form with one added example."""
    from statistics import NormalDist

    pooled = (p * n + q * m + 0.5) / (n + m + 1)
    error = (pooled * (1 - pooled) * (1 / n + 1 / m)) ** 0.5
    return 2 * (1 - NormalDist().cdf(abs(p - q) / error))


def _interval(cell: Cell) -> str:
    s = cell.score
    return (
        f"{percent(s['value'])} ({100 * s['ci_low']:.1f} - {100 * s['ci_high']:.1f}), n {s['n']}, "
        f"{count(s['n_seeds'], 'seed')}"
    )


def _seeds(found: Collection[int]) -> str:
    return f"seed{'' if len(found) == 1 else 's'} {', '.join(map(str, sorted(found)))}"


def _keys(cell: Cell, seeds: Collection[int]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(cell.runs[s].key for s in cell.runs if s in seeds))
