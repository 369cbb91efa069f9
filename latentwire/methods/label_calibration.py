"""Label calibration: remove a model's preference for some labels if that improves val scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import log_softmax

from latentwire.data import Example, Task
from latentwire.data.metrics import Response
from latentwire.data.templates import placeholders
from latentwire.eval.method import Prediction
from latentwire.eval.notes import has_label_prior
from latentwire.methods.prompt_choice import ValScore, mean_value

_SMALLEST = float(np.finfo(float).tiny)


def score_on_val(
    task: Task, val: Sequence[Example], answers: Sequence[Prediction], template: str
) -> ValScore:
    """Score a model's answers to val, with and without label calibration.

    Labels are calibrated only if the task has a prior (see `has_label_prior`) and all labels
    follow the same prompt.

    Args:
        task: Task that scores the answers.
        val: Examples that were answered.
        answers: Answers without calibration, in the order of the examples.
        template: Template of the prompt.
    """
    plain = mean_value(answers)
    if not has_label_prior(task) or "filled" in placeholders(template):
        return ValScore(plain, plain)
    halves = [(val[i::2], answers[i::2]) for i in (0, 1)]
    if not all(examples for examples, _ in halves):
        return ValScore(plain, plain)
    # Score each half with the prior of the other half to avoid overfitting.
    crossed = [
        calibrate(task, examples, own, estimate_log_prior(other))
        for (examples, own), (_, other) in zip(halves, halves[::-1], strict=True)
    ]
    score = mean_value([answer for half in crossed for answer in half])
    if score > plain:
        return ValScore(score, plain, estimate_log_prior(answers))
    return ValScore(plain, plain)


def estimate_log_prior(answers: Sequence[Prediction]) -> tuple[float, ...]:
    """Return the log of the mean probability of each label; correct labels are not used.

    Source: Zhou et al. 2024, Batch Calibration, arXiv:2309.17249.
    """
    shares = np.exp([log_probabilities(answer.scores) for answer in answers])
    return tuple(np.log(np.maximum(shares.mean(0), _SMALLEST)).tolist())


def calibrate(
    task: Task,
    examples: Sequence[Example],
    answers: Sequence[Prediction],
    log_prior: Sequence[float],
) -> list[Prediction]:
    """Divide the probability of each label by its prior.

    A model that gives nearly every text the same label may still rank texts well. Unreadable
    answers are unchanged, and so are all answers if the prior is empty.

    Args:
        task: Task that scores the answers.
        examples: Examples that were answered.
        answers: Answers in the order of the examples.
        log_prior: Log prior of each label; empty for no calibration.
    """
    if not log_prior:
        return list(answers)
    return [
        Prediction.of(
            task,
            example,
            Response(
                tuple(
                    share - prior
                    for share, prior in zip(
                        log_probabilities(answer.scores), log_prior, strict=True
                    )
                )
            ),
            n_bytes=answer.n_bytes,
            text=answer.text,
        )
        if answer.parsed
        else answer
        for example, answer in zip(examples, answers, strict=True)
    ]


def log_probabilities(scores: Sequence[float], sizes: Sequence[int] = ()) -> tuple[float, ...]:
    """Return the log-softmax of the scores of choices, per byte if sizes are given.

    Scores that are not finite get probability 0. If no score is finite, all choices get the same
    probability.

    Args:
        scores: Score of each choice, a log-likelihood.
        sizes: Bytes of each choice; empty for scores of whole choices.
    """
    values = np.nan_to_num(np.array(scores), nan=-np.inf, posinf=np.inf, neginf=-np.inf)
    if not np.isfinite(values).any():
        values = np.zeros_like(values)
    if sizes:
        values = values / np.array(sizes)
    return tuple(log_softmax(values).tolist())
