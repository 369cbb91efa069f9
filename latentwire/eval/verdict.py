"""What a table of comparisons says of a bridge, in words: yes, no, or cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from latentwire.eval.statistics import Comparison, examples_needed

LEVEL = 0.05
MARGIN = 0.02
BLIND = ("zero", "random", "shuffled", "mean", "prefix_blind")
"""Controls whose answers cannot depend on what the sender read."""
COMMUNICATES = "communicates anything"
CLAIMS = {
    "sender_label": "carries more than its sender's label",
    "linear_probe": "carries more than a linear probe on its sender's states",
    "text_relay": "carries more than the text relay",
    "zeroshot_receiver": "does better than the receiver alone",
}
Reply = Literal["yes", "no", "cannot tell"]


@dataclass(frozen=True)
class Verdict:
    """The answer to one claim about a bridge.

    Args:
        bridge: Name of the method the claim is about.
        claim: The claim, in words.
        rival: The method it was compared with.
        answer: `yes`: the bridge is better, significantly after the correction. `no`: it is
            significantly worse, or the interval of the difference stays below the margin. Else
            `cannot tell`.
        difference: Score of the bridge minus that of the rival, -1..1.
        ci_low: Lower end of its 95 % interval.
        ci_high: Upper end.
        p_adjusted: Two-sided p-value, corrected by Holm for all claims of the table.
        n: Examples that both answered.
        n_claims: Claims of the table.
        detectable: Smallest true difference the sample could show; None if none.
        n_needed: About how many examples it takes to tell; None unless the answer is `cannot tell`.
        margin: Differences below it count as none, 0..1.
    """

    bridge: str
    claim: str
    rival: str
    answer: Reply
    difference: float
    ci_low: float
    ci_high: float
    p_adjusted: float
    n: int
    n_claims: int
    detectable: float | None
    n_needed: int | None
    margin: float

    @property
    def sentence(self) -> str:
        """The verdict with its figures, for people."""
        interval = f"{100 * self.ci_low:+.1f} to {100 * self.ci_high:+.1f}"
        claims = "1 claim" if self.n_claims == 1 else f"{self.n_claims} claims"
        text = f"{self.claim[0].upper()}{self.claim[1:]}: {self.answer}{self._reason()}. "
        text += f"{100 * self.difference:+.1f} points against {self.rival} "
        text += f"(95 % interval {interval}; p {_p(self.p_adjusted)}, Holm over {claims}; "
        text += f"n = {self.n:,})."
        if self.answer == "yes":
            return text
        if self.detectable is None:
            return text + " So few examples could not show any difference."
        return text + (
            f" The smallest difference this sample could show is {100 * self.detectable:.1f} "
            "points (80 % power)."
        )

    def to_json(self) -> dict[str, Any]:
        """The verdict as a JSON object."""
        return {**asdict(self), "sentence": self.sentence}

    def _reason(self) -> str:
        if self.n_needed is not None:
            return f" (n too small: needs {self.n_needed:,})"
        if self.answer == "yes":
            return ""
        if self.ci_high < self.margin and not self._worse():
            return f" (not by {100 * self.margin:g} points or more)"
        return " (it is worse)"

    def _worse(self) -> bool:
        return self.difference < 0 and self.p_adjusted < LEVEL


def verdicts(
    comparisons: Sequence[Comparison], *, bridge: str = "bridge", margin: float = MARGIN
) -> list[Verdict]:
    """What a bridge is worth, claim by claim.

    The first claim is that it communicates anything: it is held against the blind control that
    comes closest to it. That choice is made on the same examples, so it is strict: of bridges that
    are better than k equal controls by just the margin, up to k times 2.5 % get a no. The others
    hold it against its sender's label, a linear probe, the text relay and the receiver alone, each
    where it was run.

    Args:
        comparisons: All of a table, corrected by `holm`; those whose first method is `bridge`
            count.
        bridge: Name of the bridge's method.
        margin: Smallest difference that would matter, > 0, as a share: 0.02 is 2 points. A
            difference whose interval ends below it is answered with no.
    Returns: One verdict per claim; none for a claim whose rival was not run.
    Raises: ValueError: If the margin is not positive, or a comparison was not corrected by Holm.
    Source: Altman and Bland 1995, BMJ 311 (no significance is no evidence of no difference); the
        interval against a margin as in tests of non-inferiority, Piaggio et al. 2012, JAMA 308.
    """
    if margin <= 0:
        raise ValueError(f"the margin is {margin}; it must be above 0")
    rivals = {c.b: c for c in comparisons if c.a == bridge}
    found = []
    blind = [rivals[name] for name in BLIND if name in rivals]
    if blind:
        closest = min(blind, key=lambda c: (c.difference, c.ci_high))
        found.append(_verdict(COMMUNICATES, closest, margin))
    found += [_verdict(CLAIMS[name], rivals[name], margin) for name in CLAIMS if name in rivals]
    return found


def _verdict(claim: str, comparison: Comparison, margin: float) -> Verdict:
    if comparison.p_adjusted is None or comparison.correction != "holm":
        raise ValueError(
            f"the comparison of {comparison.a} with {comparison.b} is not corrected for the other "
            "claims of its table; pass the comparisons through holm first"
        )
    answer = _answer(comparison, comparison.p_adjusted, margin)
    return Verdict(
        bridge=comparison.a,
        claim=claim,
        rival=comparison.b,
        answer=answer,
        difference=comparison.difference,
        ci_low=comparison.ci_low,
        ci_high=comparison.ci_high,
        p_adjusted=comparison.p_adjusted,
        n=comparison.n,
        n_claims=comparison.n_claims,
        detectable=comparison.detectable,
        n_needed=_needed(comparison, margin) if answer == "cannot tell" else None,
        margin=margin,
    )


def _answer(comparison: Comparison, p_adjusted: float, margin: float) -> Reply:
    if p_adjusted < LEVEL and comparison.difference > 0:
        return "yes"
    if p_adjusted < LEVEL or comparison.ci_high < margin:
        return "no"
    return "cannot tell"


def _needed(comparison: Comparison, margin: float) -> int:
    """Examples with which the claim could be settled.

    As many as show the margin, or the difference found if that is larger, with 80 % power. Where
    the sample has so many already, as many as bring the interval's end below the margin, if the
    difference stays what it is: intervals shrink with the root of n.
    """
    n, difference = comparison.n, comparison.difference
    shown = examples_needed(
        max(margin, difference), comparison.spread, alpha=LEVEL / comparison.n_claims
    )
    if shown > n or difference >= margin:
        return max(shown, n + 1)
    excluded = n * ((comparison.ci_high - difference) / (margin - difference)) ** 2
    return max(math.ceil(excluded), n + 1)


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
