"""Scores of the choices by the sender, the teacher of the objective `kd_sender`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.files import cache_dir, fingerprint
from latentwire.core.progress import Progress
from latentwire.data import Example
from latentwire.models import Receiver
from latentwire.prompting.builder import PromptBuilder
from latentwire.prompting.scoring import respond

_FORMAT = 1
_BATCH_SIZE = 32  # examples per batch; stop requests are checked between batches


class SenderScores:
    """Scores of the choices of examples by the sender, which reads the text.

    Each example is scored once. Scores are kept in memory (a few bytes each) and on disk, so that
    resumed runs read identical scores and runs with other seeds do not run the sender again.

    Args:
        scorer: The sender's model, used to score choices.
        builder: Builds prompts for the scorer.
        root: Folder of all stored scores; a folder in LatentWire's cache by default.
    """

    def __init__(self, scorer: Receiver, builder: PromptBuilder, root: Path | None = None) -> None:
        self._scorer, self._builder, self._root = scorer, builder, root
        self._known: dict[int, Tensor] = {}

    def scores(self, examples: Sequence[Example]) -> list[Float[Tensor, " c"]]:
        """Summed log-likelihood of each choice of each example, in nats, on the CPU.

        Defined up to a constant per example.
        """
        self.ensure(examples, range(len(examples)))
        return [self._known[hash(example)] for example in examples]

    def ensure(
        self,
        examples: Sequence[Example],
        index: Sequence[int],
        *,
        progress: Progress | None = None,
        stop: Callable[[], bool] = lambda: False,
    ) -> int:
        """Score the examples at these indices that have no scores yet.

        Scores are stored after each batch, so an interruption loses none.

        Args:
            examples: Examples, read one by one.
            index: Indices of the examples to score.
            progress: Called after each batch.
            stop: Checked after each batch; True ends scoring.
        Returns: Number of examples scored, without those found on disk.
        """
        missing = [i for i in index if hash(examples[i]) not in self._known]
        if not missing:
            return 0
        stored, n_scored = self._stored(), 0
        with (progress or Progress()).task("sender scores", len(missing)) as bar:
            for start in range(0, len(missing), _BATCH_SIZE):
                some = [examples[i] for i in missing[start : start + _BATCH_SIZE]]
                n_scored += self._load_or_score(some, stored)
                bar.advance(len(some))
                if stop():
                    break
        return n_scored

    def _load_or_score(self, examples: Sequence[Example], stored: dict[str, list[float]]) -> int:
        """Look up or compute the scores of some examples; return the number computed."""
        requests = [self._builder.build(example) for example in examples]
        keys = [fingerprint([(r.prompt.before, r.answers) for r in each]) for each in requests]
        fresh = {key: each for key, each in zip(keys, requests) if key not in stored}
        responses = respond(
            self._scorer, self._builder.task, list(fresh.values()), ranking_only=True
        )
        computed = {key: list(response.scores) for key, response in zip(fresh, responses)}
        self._append(computed)
        stored.update(computed)
        for example, key in zip(examples, keys):
            self._known[hash(example)] = torch.tensor(stored[key])
        return len(fresh)

    @cached_property
    def _folder(self) -> Path:
        lm = self._scorer.lm
        name = fingerprint(_FORMAT, lm.fingerprint, str(lm.dtype), self._builder.task.name)
        return (self._root or cache_dir() / "answers") / name

    @cached_property
    def _own_file(self) -> Path:
        return self._folder / f"{uuid.uuid4().hex}.jsonl"

    def _stored(self) -> dict[str, list[float]]:
        """Scores stored by all processes."""
        found: dict[str, list[float]] = {}
        for path in sorted(self._folder.glob("*.jsonl")):
            for line in path.read_text(encoding="utf-8").splitlines():
                try:
                    found.update(json.loads(line))
                except ValueError:
                    continue  # a line truncated when the process was killed
        return found

    def _append(self, scores: dict[str, list[float]]) -> None:
        if scores:
            self._folder.mkdir(parents=True, exist_ok=True)
            with self._own_file.open("a", encoding="utf-8") as out:
                out.write(json.dumps(scores) + "\n")
