"""Training speed in examples per second, compared with a plain loop and with bare passes.

plain   every step runs all layers of the sender and the whole prompt of the receiver, computes
        logits of the vocabulary at all positions and gradients of the receiver's weights
ours    a step of `train_bridge`, and a third of the time to cache the sender states of its batch,
        because the cached states are used for three epochs
bare    the receiver's forward and backward pass alone, with the same shapes as in `ours`
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from latentwire.bench.lower_bounds import PassCost, measure_device_rates, model_pass
from latentwire.bench.stopwatch import TimedWork, time_interleaved
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


class PlainTrainingLoop:
    """Straightforward training loop without caches, as a reference."""

    def __init__(self, wire: Wire, task: Task) -> None:
        self.wire, self.builder = wire, wire.prompt_builder(task)
        self.task = task
        self.optimizer = torch.optim.AdamW(wire.bridge.parameters(), lr=1e-3)

    def step(self, examples: Sequence[Example]) -> None:
        """Run one training step on a batch."""
        wire, lm = self.wire, self.wire.receiver.lm
        lm.model.requires_grad_(True)
        texts, _ = wire.sender_texts(self.task, examples)
        layers = wire.spec.layers
        states = wire.sender.encode(texts, [*layers, wire.sender.lm.n_layers])  # runs all layers
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
        self.optimizer.zero_grad()
        torch.autograd.backward(loss)
        self.optimizer.step()
        lm.model.zero_grad(set_to_none=True)
        lm.model.requires_grad_(False)


def bare(wire: Wire, prompts: Sequence[Prompt], answers: Sequence[Sequence[int]]) -> None:
    """Run the receiver's forward and backward pass on constant soft tokens."""
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
    """Measure training speed on the same batches, in interleaved rounds.

    Args:
        subject: Wire and task to measure; the bridge is trained.
        folder: Folder for temporary states and a temporary run.
        batch_size: Number of examples per step.
        rounds: Number of timed rounds.
        progress: Called after each round.
    Returns: The JSON object of `latentwire bench train --json`. The lower bound is that of the
        receiver's forward and backward pass over the tokens after the shared prompt start.
    Raises: UsageError: If the batch size or the number of rounds is below 1.
    """
    if min(batch_size, rounds) < 1:
        raise UsageError("Batch size and rounds must be 1 or more.")
    lm = subject.lms[1]
    machine = measure_device_rates(lm.device, lm.dtype)
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
) -> tuple[dict[str, list[float]], list[PassCost]]:
    """Return the milliseconds of every part and round, and the receiver's passes of a step."""
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
    plain, builder = PlainTrainingLoop(wire, task), data.prompted.builder
    batches = []
    for turn in range(rounds + 1):
        _, index = trainer.plan.batch(turn)
        examples = [data.train.examples[i] for i in index]
        fresh = StateCache(wire.sender, wire.spec.layers, folder / f"fresh-{turn}")
        prompts = [builder.build_handoff(example)[0].prompt for example in examples]
        answers = [builder.right_answer(p, e) for p, e in zip(prompts, examples)]
        batches.append((examples, fresh, wire.sender_texts(task, examples)[0], prompts, answers))
    # The warm-up round (-1) runs the first step, because steps of a training have an order.
    works: dict[str, TimedWork] = {
        "plain": lambda turn: plain.step(batches[turn + 1][0]),
        "step": lambda turn: trainer._step(turn + 1),
        "caching": lambda turn: batches[turn + 1][1].ensure(batches[turn + 1][2]),
        "bare": lambda turn: bare(wire, *batches[turn + 1][3:]),
    }
    taken = time_interleaved(works, rounds, progress=progress, title="training steps")
    _, _, _, prompts, answers = batches[0]
    n_tokens = max(
        len(p.before) - p.n_static + wire.spec.soft_tokens + len(p.after) + len(a) - 1
        for p, a in zip(prompts, answers)
    )
    return taken, [model_pass(lm, lm.n_layers, len(prompts), n_tokens)] * 2
