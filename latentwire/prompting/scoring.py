"""Answer requests with a model: score their choices, or write the answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from latentwire.data import Task
from latentwire.data.metrics import Response
from latentwire.models import Receiver
from latentwire.models.batching import batch_by_length, tokens_per_pass
from latentwire.prompting.builder import Request


def respond(
    receiver: Receiver,
    task: Task,
    requests: Sequence[Sequence[Request]],
    soft: Float[Tensor, "b k dr"] | None = None,
    *,
    batch_size: int = 32,
    ranking_only: bool = False,
    max_new_tokens: int | None = None,
    on_batch: Callable[[int], object] = lambda n: None,
) -> list[Response]:
    """Score the choices of each example, or write an answer if it has none.

    Duplicate requests with equal soft tokens are answered once.

    Args:
        receiver: Answering model.
        task: Task of the examples; defines the metric and the stop sequences.
        requests: Requests of each example, from `PromptBuilder.build` or `build_handoff`.
        soft: Soft tokens of each example, or None if prompts are text.
        batch_size: Maximum number of prompts per forward pass. A pass holds prompts of similar
            length, and no more tokens than the device handles efficiently.
        ranking_only: Only the best choice matters: see `Receiver.score_choices`.
        max_new_tokens: Maximum length of a written answer in tokens; the task's limit by default.
        on_batch: Called after each pass with the number of answered prompts.
    Returns: One response per example, in their order.
    """
    places: Sequence[int] = range(len(requests))
    if len(requests) > 1:
        places = _first_equal(requests, soft)
    if len(firsts := sorted({*places})) < len(requests):
        responses = respond(
            receiver,
            task,
            [requests[i] for i in firsts],
            None if soft is None else soft[firsts],
            batch_size=batch_size,
            ranking_only=ranking_only,
            max_new_tokens=max_new_tokens,
            on_batch=on_batch,
        )
        on_batch(sum(map(len, requests)) - sum(len(requests[i]) for i in firsts))
        known = dict(zip(firsts, responses))
        return [known[place] for place in places]
    flat = [(i, request) for i, asked in enumerate(requests) for request in asked]
    writes = not any(request.answers for _, request in flat)
    k = 0 if soft is None else soft.shape[1]
    sizes = [len(r.prompt.before) - r.prompt.n_static + k + len(r.prompt.after) for _, r in flat]
    scores: list[tuple[float, ...]] = [()] * len(flat)
    texts: list[str | None] = [None] * len(flat)
    # Metrics that divide scores by length need exact scores.
    ranking_only = ranking_only and task.metric == "acc"
    # Generation runs one token per row at a time, so larger batches are always faster.
    most = None if writes else tokens_per_pass(receiver.lm.device)
    for index in batch_by_length(sizes, batch_size, most):
        prompts = [flat[j][1].prompt for j in index]
        given = None if soft is None else soft[[flat[j][0] for j in index]]
        if writes:
            length = task.max_new_tokens if max_new_tokens is None else max_new_tokens
            written = receiver.write(prompts, given, max_new_tokens=length, stop=task.stop)
            for j, answer in zip(index, written):
                texts[j] = answer
        else:
            choices = [flat[j][1].answers for j in index]
            rows = receiver.score_choices(prompts, choices, given, ranking_only=ranking_only)
            for j, row in zip(index, rows):
                scores[j] = tuple(row.tolist())
        on_batch(len(index))
    responses = [Response() for _ in requests]
    for (i, request), found, text in zip(flat, scores, texts):
        before = responses[i]
        responses[i] = Response((*before.scores, *found), (*before.sizes, *request.sizes), text)
    return responses


def _first_equal(
    requests: Sequence[Sequence[Request]], soft: Float[Tensor, "b k dr"] | None
) -> list[int]:
    """Return for each example the index of its first duplicate (equal requests and soft tokens)."""
    first: dict[object, int] = {}
    rows = [None] * len(requests) if soft is None else list(soft.detach().cpu().float())
    return [
        first.setdefault((tuple(asked), None if row is None else row.numpy().tobytes()), i)
        for i, (asked, row) in enumerate(zip(requests, rows))
    ]
