"""Verdicts on claims about a bridge, derived from paired comparisons: yes, no or cannot tell."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from latentwire.eval.statistics import LEVEL, Comparison, examples_needed

MARGIN = 0.02
COMMUNICATES = "communicates information"
BETTER = "better than {}"
Reply = Literal["yes", "no", "cannot tell"]


@dataclass(frozen=True)
class Verdict:
    """Verdict on one claim about a bridge.

    Args:
        bridge: Name of the method under evaluation.
        claim: The claim in words.
        rival: Method that the bridge was compared with.
        answer: `yes` if the bridge is significantly better after the correction; `no` if it is
            significantly worse or the interval of the difference is below the margin; else
            `cannot tell`.
        difference: Score of the bridge minus score of the rival, -1..1.
        ci_low: Lower end of the 95 % interval of the difference.
        ci_high: Upper end.
        p_adjusted: Two-sided p-value with Holm's correction for all claims of the table.
        n: Examples that both methods answered.
        n_claims: Number of claims in the table.
        detectable: Smallest true difference that the sample can detect; None if none.
        n_needed: Estimated number of examples needed to decide; None unless the answer is
            `cannot tell`.
        margin: Smallest difference that matters, 0..1.
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
        """The verdict with its figures, in words."""
        interval = f"{100 * self.ci_low:+.1f} to {100 * self.ci_high:+.1f}"
        claims = "1 claim" if self.n_claims == 1 else f"{self.n_claims} claims"
        text = f"{self.claim[0].upper()}{self.claim[1:]}: {self.answer}{self._reason()}. "
        text += f"Difference to {self.rival}: {100 * self.difference:+.1f} points "
        text += f"(95 % interval {interval}; p {format_p(self.p_adjusted)}, Holm over {claims}; "
        text += f"n = {self.n:,})."
        if self.answer == "yes":
            return text
        if self.detectable is None:
            return text + " The sample is too small to detect any difference."
        text += f" Smallest detectable difference: {100 * self.detectable:.1f} points (80 % power)."
        return text

    def to_json(self) -> dict[str, Any]:
        """Return the verdict as a JSON object."""
        return {**asdict(self), "sentence": self.sentence}

    def _reason(self) -> str:
        if self.n_needed is not None:
            return f", the difference is not significant; {self.n_needed:,} examples are needed"
        if self.answer == "yes":
            return ""
        if self.ci_high < self.margin and not self._worse():
            return f", not by {100 * self.margin:g} points or more"
        return ", it is significantly worse"

    def _worse(self) -> bool:
        return self.difference < 0 and self.p_adjusted < LEVEL


def verdicts(
    comparisons: Sequence[Comparison],
    *,
    bridge: str = "bridge",
    blind: Sequence[str],
    rivals: Sequence[str],
    margin: float = MARGIN,
) -> list[Verdict]:
    """Return a verdict on each claim about a bridge.

    The first claim is that it communicates information: it is compared with the blind control
    whose score is closest. Since the control is selected on the same examples, this claim is
    strict: with k equal controls, up to k times 2.5 % of the bridges that are better by exactly
    the margin are rejected. The other claims compare the bridge with each of its rivals.

    Args:
        comparisons: All comparisons of a table, corrected by `holm`; only those with `bridge` as
            the first method are used.
        bridge: Name of the method under evaluation.
        blind: Names of the controls whose message does not depend on the text.
        rivals: Names of the methods that the bridge should beat.
        margin: Smallest difference that matters, > 0; 0.02 is 2 points. If the whole interval of
            the difference is below it, the answer is no.
    Returns: One verdict per claim, without claims whose rival did not run.
    Raises: ValueError: If the margin is not positive, or a comparison was not corrected by Holm.
    Source: Altman and Bland 1995, BMJ 311 (absence of evidence is not evidence of absence);
        interval against a margin as in non-inferiority tests: Piaggio et al. 2012, JAMA 308.
    """
    if margin <= 0:
        raise ValueError(f"the margin is {margin}; it must be above 0")
    by_rival = {c.b: c for c in comparisons if c.a == bridge}
    found = []
    controls = [by_rival[name] for name in blind if name in by_rival]
    if controls:
        closest = min(controls, key=lambda c: (c.difference, c.ci_high))
        found.append(_verdict(COMMUNICATES, closest, margin))
    return found + [
        _verdict(BETTER.format(name), by_rival[name], margin) for name in rivals if name in by_rival
    ]


def _verdict(claim: str, comparison: Comparison, margin: float) -> Verdict:
    if comparison.p_adjusted is None or comparison.correction != "holm":
        raise ValueError(
            f"the comparison of {comparison.a} with {comparison.b} is not corrected for the other "
            "claims of its table; correct the comparisons with holm first"
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
    """Estimate the number of examples needed to decide a claim.

    This is the number needed to detect the margin, or the observed difference if that is larger,
    with 80 % power. If the sample already has that many, it is the number at which the interval,
    which shrinks with the square root of n, would be below the margin for the same difference.
    """
    n, difference = comparison.n, comparison.difference
    shown = examples_needed(
        max(margin, difference), comparison.variation, alpha=LEVEL / comparison.n_claims
    )
    if shown > n or difference >= margin:
        return max(shown, n + 1)
    excluded = n * ((comparison.ci_high - difference) / (margin - difference)) ** 2
    return max(math.ceil(excluded), n + 1)


def format_p(value: float) -> str:
    """Format a p-value with its relation sign: `= 0.012` or `< 0.001`."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"
