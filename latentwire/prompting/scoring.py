"""One way to answer, for text and for soft tokens: requests -> responses, batched by length."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from jaxtyping import Float
from torch import Tensor

from latentwire.data import Task
from latentwire.data.metrics import Response
from latentwire.models import Receiver
from latentwire.models.batching import by_length, tokens_per_pass
from latentwire.prompting.builder import Request


def respond(
    receiver: Receiver,
    task: Task,
    requests: Sequence[Sequence[Request]],
    soft: Float[Tensor, "b k dr"] | None = None,
    *,
    batch_size: int = 32,
    ranking_only: bool = False,
    on_batch: Callable[[int], object] = lambda n: None,
) -> list[Response]:
    """Score the choices, or write the answer, of every example; equal questions are asked once.

    Args:
        receiver: The answering model.
        task: Says which kind of answer; gives length and stop sequences of what is written.
        requests: For each example what `PromptBuilder.read` or `PromptBuilder.hand` made of it.
        soft: Soft tokens of each example, or None if prompts are text.
        batch_size: Most prompts per forward pass; passes hold prompts of like length, and no
            more tokens than the device is quick with.
        ranking_only: Only the best choice matters: see `Receiver.score_choices`.
        on_batch: Told how many prompts were answered after each pass.
    Returns: One for each example, in their order.
    """
    places = _distinct(requests, soft)
    if len(firsts := sorted({*places})) < len(requests):
        answers = respond(
            receiver,
            task,
            [requests[i] for i in firsts],
            None if soft is None else soft[firsts],
            batch_size=batch_size,
            ranking_only=ranking_only,
            on_batch=on_batch,
        )
        on_batch(sum(map(len, requests)) - sum(len(requests[i]) for i in firsts))
        known = dict(zip(firsts, answers))
        return [known[place] for place in places]
    flat = [(i, request) for i, asked in enumerate(requests) for request in asked]
    k = 0 if soft is None else soft.shape[1]
    sizes = [len(r.prompt.before) - r.prompt.n_static + k + len(r.prompt.after) for _, r in flat]
    scores: list[tuple[float, ...]] = [()] * len(flat)
    texts: list[str | None] = [None] * len(flat)
    # Lengths of the choices decide as well where the metric divides by them.
    ranking_only = ranking_only and task.metric == "acc"
    # Writing is one token of each row at a time: there the more rows the better.
    most = None if task.kind == "generation" else tokens_per_pass(receiver.lm.device)
    for index in by_length(sizes, batch_size, most):
        prompts = [flat[j][1].prompt for j in index]
        given = None if soft is None else soft[[flat[j][0] for j in index]]
        if task.kind == "generation":
            written = receiver.write(
                prompts, given, max_new_tokens=task.max_new_tokens, stop=task.stop
            )
            for j, text in zip(index, written):
                texts[j] = text
        else:
            choices = [flat[j][1].answers for j in index]
            rows = receiver.score_choices(prompts, choices, given, ranking_only=ranking_only)
            for j, row in zip(index, rows):
                scores[j] = tuple(row.tolist())
        on_batch(len(index))
    responses = [Response() for _ in requests]
    for (i, request), found, said in zip(flat, scores, texts):
        before = responses[i]
        responses[i] = Response((*before.scores, *found), (*before.sizes, *request.sizes), said)
    return responses


def _distinct(
    requests: Sequence[Sequence[Request]], soft: Float[Tensor, "b k dr"] | None
) -> list[int]:
    """For each example the first one that is asked the same, with the same soft tokens."""
    if len(requests) == 1:
        return [0]
    first: dict[object, int] = {}
    rows = [None] * len(requests) if soft is None else list(soft.detach().cpu().float())
    return [
        first.setdefault((tuple(asked), None if row is None else row.numpy().tobytes()), i)
        for i, (asked, row) in enumerate(zip(requests, rows))
    ]
