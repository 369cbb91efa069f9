"""How long a training step takes beside a plain loop and beside the least it could take.

    python benchmarks/train_speed.py [--pair embedded] [--task bbc_news] [--rounds 9] [--batch 16]

One process, one pair, the same batches, the three interleaved in turning order:

plain   the sender through all layers in every step, the whole prompt through the receiver, logits
        of the full vocabulary at all positions, gradients of the receiver's weights
ours    a step of `train_bridge`, and a third of the caching pass over the same batch: the sender
        runs once, its states serve three epochs
bare    the receiver's forward and backward pass alone, on the shapes that ours gives it

Prints the ratios and one JSON object.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from latentwire import Example, Task, TrainConfig, Wire, load_task
from latentwire.losses import token_mean
from latentwire.models import Prompt
from latentwire.models.states import StateCache
from latentwire.objectives import Loss, Space
from latentwire.progress import Progress
from latentwire.run_folder import RunFolder, describe_environment
from latentwire.train.forward import Forward
from latentwire.train.processes import Processes
from latentwire.train.stopping import StopRequest
from latentwire.train.tasks import first_words, read_tasks
from latentwire.train.trainer import Trainer

EPOCHS = 3
_TASK = """\
name: colours
version: 1
kind: choice
metric: acc
labels: [red, blue]
source:
  files: {train: train.csv, val: val.csv, test: test.csv}
splits: {train: train, val: val, test: test}
example: {context: "{text}", target: label, target_values: [red, blue]}
prompts:
  - "Colours: {labels}.\\nText: {context}\\nColour:"
  - "Which of {labels} is it?\\n{context}\\nAnswer:"
  - "{context}\\nIts colour is"
relay_prompts: ["Note: {context}\\nNote:", "Sum: {context}\\nSum:", "Facts: {context}\\nFacts:"]
sender_prompt_aware: "Colours: {labels}.\\nText: {context}\\nColour:"
max_context_tokens: 64
"""


def made_up_task(folder: Path, n_train: int, n_words: int = 8) -> Task:
    """A two-label task of random words that needs no data on this machine."""
    draw = random.Random(0)
    words = {"red": ("fire", "blood", "rose", "flame"), "blue": ("sea", "sky", "rain", "lake")}
    number = 0
    for split, count in (("train", n_train), ("val", 32), ("test", 32)):
        with (folder / f"{split}.csv").open("w", newline="") as out:
            rows = csv.writer(out)
            rows.writerow(["text", "label"])
            for _ in range(count):
                label = draw.choice(("red", "blue"))
                number += 1  # no text is there twice
                rows.writerow(
                    [" ".join([*draw.choices(words[label], k=n_words), str(number)]), label]
                )
    (folder / "colours.yaml").write_text(_TASK)
    return load_task(folder / "colours.yaml")


class Plain:
    """The loop that one would write first."""

    def __init__(self, wire: Wire, task: Task) -> None:
        self.wire, self.asker = wire, wire.asker(task)
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
            prompt = self.asker.hand(example)[0].prompt
            answer = list(self.asker.right_answer(prompt, example))
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


def timed(work: Callable[[], object], device: torch.device) -> float:
    """Milliseconds that `work` takes, until the device is done."""
    began = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return 1000 * (time.perf_counter() - began)


def measure(
    wire: Wire, task: Task, folder: Path, batch: int, rounds: int
) -> dict[str, list[float]]:
    """Milliseconds of every part in every round; the first round only warms up."""
    config = TrainConfig.of(batch_size=batch, steps=rounds + 1, train_limit=batch * (rounds + 1))
    (data,), texts, some = read_tasks(wire, [task], config)
    cache = StateCache(wire.sender, wire.spec.layers, folder / "states")
    cache.ensure(texts)
    wire.calibrate(cache.states(some), first_words([task]))
    lm, device = wire.receiver.lm, wire.receiver.lm.device
    space = Space(lm.width, wire.spec.soft_tokens, lm.embedding_rms)
    forward = Forward(wire, cache, Loss(config.terms, space).to(device), config)
    run = RunFolder(folder / "run")
    trainer = Trainer(forward, [data], config, run, Processes(), StopRequest(), Progress())
    plain, asker = Plain(wire, task), data.reading.asker
    taken: dict[str, list[float]] = {"plain": [], "step": [], "caching": [], "bare": []}
    for turn in range(rounds + 1):
        _, index = trainer.plan.batch(turn)
        examples = [data.train.examples[i] for i in index]
        read, _ = wire.sender_texts(task, examples)
        fresh = StateCache(wire.sender, wire.spec.layers, folder / f"fresh-{turn}")
        prompts = [asker.hand(example)[0].prompt for example in examples]
        answers = [asker.right_answer(p, e) for p, e in zip(prompts, examples)]
        parts: list[tuple[str, Callable[[], Any]]] = [
            ("plain", lambda e=examples: plain.step(e)),
            ("step", lambda t=turn: trainer._step(t)),
            ("caching", lambda c=fresh, r=read: c.ensure(r)),
            ("bare", lambda p=prompts, a=answers: bare(wire, p, a)),
        ]
        for name, work in parts[turn % 4 :] + parts[: turn % 4]:
            spent = timed(work, device)
            if turn:
                taken[name].append(spent)
    return taken


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pair", default="embedded", help="embedded, paper or fake")
    parser.add_argument("--task", default="bbc_news", help="with --pair fake a made-up one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--batch", type=int, default=16, help="examples of a step")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        n_train = args.batch * (args.rounds + 1)
        task = made_up_task(folder, n_train) if args.pair == "fake" else load_task(args.task)
        wire = Wire.build(pair=args.pair, max_tokens=48)
        taken = measure(wire, task, folder, args.batch, args.rounds)
    taken["ours"] = [s + c / EPOCHS for s, c in zip(taken["step"], taken["caching"])]
    ms = {name: statistics.median(values) for name, values in taken.items()}
    found = {
        "pair": wire.pair,
        "task": task.name,
        "batch": args.batch,
        "rounds": args.rounds,
        "epochs": EPOCHS,
        "median_ms": ms,
        "plain_over_ours": ms["plain"] / ms["ours"],
        "ours_over_bare": ms["ours"] / ms["bare"],
        "plain_over_bare": ms["plain"] / ms["bare"],
        "all_ms": taken,
        "environment": describe_environment(),
    }
    print(f"plain / ours  {found['plain_over_ours']:.2f}")
    print(f"ours / bare   {found['ours_over_bare']:.2f}")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
