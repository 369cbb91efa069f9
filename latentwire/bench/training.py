"""How many examples a training step takes in per second, beside a plain loop and the bare passes.

plain   the sender through all layers in every step, the whole prompt through the receiver, logits
        of the full vocabulary at all positions, gradients of the receiver's weights
ours    a step of `train_bridge`, and a third of the caching pass over the same batch: the sender
        runs once, its states serve three epochs
bare    the receiver's forward and backward pass alone, on the shapes that ours gives it
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from latentwire.bench.lower_bounds import Pass, measure_machine, model_pass
from latentwire.bench.stopwatch import Work, race
from latentwire.bench.subject import Subject
from latentwire.core.errors import UsageError
from latentwire.core.progress import Progress
from latentwire.core.provenance import describe_environment
from latentwire.core.run_folder import RunFolder
from latentwire.data import Example, Task
from latentwire.losses import token_mean
from latentwire.models import Prompt
from latentwire.models.state_cache import StateCache
from latentwire.objectives import Loss, Space
from latentwire.train import TrainConfig
from latentwire.train.learner import BridgeLearner
from latentwire.train.processes import Processes
from latentwire.train.signals import StopRequest
from latentwire.train.trainer import Trainer
from latentwire.train.training_data import label_words, load_training_data
from latentwire.wire.wire import Wire

EPOCHS = 3


class Plain:
    """The loop that one would write first."""

    def __init__(self, wire: Wire, task: Task) -> None:
        self.wire, self.builder = wire, wire.prompt_builder(task)
        self.task = task
        self.optimiser = torch.optim.AdamW(wire.bridge.parameters(), lr=1e-3)

    def step(self, examples: Sequence[Example]) -> None:
        """Sender, bridge, receiver, loss, backward, step."""
        wire, lm = self.wire, self.wire.receiver.lm
        lm.model.requires_grad_(True)
        texts, _ = wire.sender_texts(self.task, examples)
        layers = wire.spec.layers
        states = wire.sender.encode(texts, [*layers, wire.sender.lm.n_layers])  # runs all of them
        chosen = states.states[:, : len(layers)].to(lm.device)
        soft = wire.bridge(chosen, states.mask.to(lm.device))
        rows, labels = [], []
        for i, example in enumerate(examples):
            prompt = self.builder.build_handoff(example)[0].prompt
            answer = list(self.builder.right_answer(prompt, example))
            before, after = (lm.embed(torch.tensor(ids)) for ids in (prompt.before, prompt.after))
            rows.append(
                torch.cat([before, soft[i].to(before), after, lm.embed(torch.tensor(answer))])
            )
            labels.append([-100] * (len(rows[-1]) - len(answer)) + answer)
        longest = max(map(len, rows))
        x = torch.stack([F.pad(row, (0, 0, longest - len(row), 0)) for row in rows])
        mask = torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows]).to(x.device)
        wanted = torch.tensor([[-100] * (longest - len(r)) + r for r in labels]).to(x.device)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = lm.model(inputs_embeds=x, attention_mask=mask, position_ids=positions).logits
        loss = F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), wanted[:, 1:].flatten())
        self.optimiser.zero_grad()
        torch.autograd.backward(loss)
        self.optimiser.step()
        lm.model.zero_grad(set_to_none=True)
        lm.model.requires_grad_(False)


def bare(wire: Wire, prompts: Sequence[Prompt], answers: Sequence[Sequence[int]]) -> None:
    """The receiver's two passes on soft tokens that come from nowhere."""
    lm = wire.receiver.lm
    soft = torch.full(
        (len(prompts), wire.spec.soft_tokens, lm.width), lm.embedding_rms, device=lm.device
    ).requires_grad_()
    hidden, targets = wire.receiver.answer_hidden(prompts, answers, soft)
    torch.autograd.backward(token_mean(wire.receiver.answer_nll(hidden, targets), targets))


def measure_training(
    subject: Subject,
    folder: Path,
    *,
    batch_size: int = 16,
    rounds: int = 9,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Time the parts of a training step on the same batches, in turn.

    Args:
        subject: What is measured; its bridge is trained by it.
        folder: Where states and a run are kept while it lasts.
        batch_size: Examples of a step.
        rounds: Timed rounds.
        progress: Told of each round.
    Returns: What `latentwire bench train --json` prints. The lower bound is that of the receiver's
        passes, forward and backward to its inputs, over the tokens behind the shared prompt.
    Raises: UsageError: If the batch size or the number of rounds is below 1.
    """
    if min(batch_size, rounds) < 1:
        raise UsageError("Batch size and rounds of a benchmark are 1 or more.")
    lm = subject.lms[1]
    machine = measure_machine(lm.device, lm.dtype)
    taken, passes = _time(subject, folder, batch_size, rounds, progress or Progress())
    taken["ours"] = [s + c / EPOCHS for s, c in zip(taken["step"], taken["caching"])]
    ms = {name: statistics.median(values) for name, values in taken.items()}
    bound = machine.lower_bound_ms(passes)
    return {
        "benchmark": "train",
        **subject.describe(),
        "device": machine.device,
        "machine": asdict(machine),
        "batch_size": batch_size,
        "rounds": rounds,
        "epochs": EPOCHS,
        "examples_per_s": {
            name: 1000 * batch_size / ms[name] for name in ("ours", "plain", "bare")
        },
        "median_ms": ms,
        "plain_over_ours": ms["plain"] / ms["ours"],
        "ours_over_bare": ms["ours"] / ms["bare"],
        "plain_over_bare": ms["plain"] / ms["bare"],
        "lower_bound_ms": bound,
        "ratio_to_lower_bound": ms["ours"] / bound,
        "all_ms": taken,
        "environment": describe_environment(),
    }


def _time(
    subject: Subject, folder: Path, batch: int, rounds: int, progress: Progress
) -> tuple[dict[str, list[float]], list[Pass]]:
    """Milliseconds of every part in every round, and what its receiver cannot do without."""
    wire, task = subject.wire, subject.task
    config = TrainConfig.of(batch_size=batch, steps=rounds + 1, train_limit=batch * (rounds + 1))
    loaded = load_training_data(wire, [task], config)
    (data,), first_texts = loaded.tasks, loaded.initialization_texts
    cache = StateCache(wire.sender, wire.spec.layers, folder / "states")
    cache.ensure(loaded.texts)
    wire.initialize(cache.states(first_texts), label_words([task]))
    lm = wire.receiver.lm
    space = Space(lm.width, wire.spec.soft_tokens, lm.embedding_rms)
    learner = BridgeLearner(wire, cache, Loss(config.terms, space).to(lm.device), config)
    run = RunFolder(folder / "run")
    trainer = Trainer(learner, [data], config, run, Processes(), StopRequest(), Progress())
    plain, builder = Plain(wire, task), data.prompted.builder
    batches = []
    for turn in range(rounds + 1):
        _, index = trainer.plan.batch(turn)
        examples = [data.train.examples[i] for i in index]
        fresh = StateCache(wire.sender, wire.spec.layers, folder / f"fresh-{turn}")
        prompts = [builder.build_handoff(example)[0].prompt for example in examples]
        answers = [builder.right_answer(p, e) for p, e in zip(prompts, examples)]
        batches.append((examples, fresh, wire.sender_texts(task, examples)[0], prompts, answers))
    # The step that warms up is the first one: a training's steps come in their order.
    works: dict[str, Work] = {
        "plain": lambda turn: plain.step(batches[turn + 1][0]),
        "step": lambda turn: trainer._step(turn + 1),
        "caching": lambda turn: batches[turn + 1][1].ensure(batches[turn + 1][2]),
        "bare": lambda turn: bare(wire, *batches[turn + 1][3:]),
    }
    taken = race(works, rounds, progress=progress, title="training steps")
    _, _, _, prompts, answers = batches[0]
    n_tokens = max(
        len(p.before) - p.n_static + wire.spec.soft_tokens + len(p.after) + len(a) - 1
        for p, a in zip(prompts, answers)
    )
    return taken, [model_pass(lm, lm.n_layers, len(prompts), n_tokens)] * 2
