"""The training loop: frozen sender (from cache), trained bridge, frozen receiver."""

from __future__ import annotations

import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from latentwire.asking import take
from latentwire.data import Example, Task
from latentwire.errors import InterruptedRunError, NonFiniteError
from latentwire.files import write_jsonl
from latentwire.losses import answer_loss, diversity_loss
from latentwire.metrics import choose
from latentwire.models.states import StateCache
from latentwire.progress import Progress, default_progress
from latentwire.run_folder import RunFolder, describe_environment
from latentwire.train.checkpoint import (
    TrainState,
    copy_weights,
    load_checkpoint,
    save_checkpoint,
)
from latentwire.train.config import TrainConfig
from latentwire.wire import Wire

_CALIBRATION_TEXTS = 256
_VAL_BATCH = 32


@dataclass(frozen=True)
class TrainResult:
    """What a training came to.

    Args:
        out_dir: The run's folder.
        best: Validation at the kept step: `step`, `loss` in nats and, for tasks with choices,
            `accuracy` in 0..1.
        n_train: Training examples.
        n_cut: How many of them were longer than the sender reads.
        train_s: Seconds of this call spent in the loop.
    """

    out_dir: Path
    best: dict[str, float]
    n_train: int
    n_cut: int
    train_s: float


def train_bridge(
    wire: Wire,
    task: Task,
    out_dir: str | Path,
    *,
    config: TrainConfig | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
    **settings: Any,
) -> TrainResult:
    """Train the wire's bridge on a task and leave a run folder; the wire keeps the best weights.

    Both models stay frozen. The sender runs once per text; its states are read from disk then.
    Ctrl-C or SIGTERM saves and ends; `resume=True` goes on with the same final weights as if
    nothing had happened.

    Args:
        wire: Built with `Wire.build`.
        task: Its train split is learned, its val split chooses the step; test is not touched.
        out_dir: The run's folder.
        config: Settings, or give them by name as `settings`.
        resume: Go on with the run in `out_dir` (from its start if it has no checkpoint).
        overwrite: Replace the run in `out_dir`.
        progress: A bar on a terminal, lines in a log by default.
        settings: Fields of TrainConfig.
    Raises:
        ConfigError: If a setting is unknown or out of range.
        UsageError: If `out_dir` holds another run.
        NonFiniteError: If the loss or a gradient stops being a number.
        InterruptedRunError: If it was asked to stop; the message says how to resume.
        DiskFullError: If the disk is full; earlier checkpoints stay.
    """
    config = config or TrainConfig.of(**settings)
    progress = progress or default_progress()
    run = RunFolder(out_dir)
    run.start(
        {"setting": _setting(wire, task, config), "environment": describe_environment()},
        resume=resume,
        overwrite=overwrite,
    )
    examples = take(task, "train", config.train_limit, config.seed)
    val = take(task, "val", config.val_limit, config.seed)
    texts, cut = wire.sender_texts(task, examples)
    val_texts, _ = wire.sender_texts(task, val)
    cache = StateCache(wire.sender, wire.spec.layers)
    cache.ensure([*texts, *val_texts], progress=progress)
    with torch.random.fork_rng(devices=[]), _stop_requests() as stop:
        torch.manual_seed(config.seed)
        first = texts[:_CALIBRATION_TEXTS]
        wire.calibrate(cache.states(first), task.labels, config.seed, texts=first)
        trainer = _Trainer(wire, task, config, run, cache, progress)
        started = time.monotonic()
        best = trainer.fit((examples, texts), (val, val_texts), stop, resume)
    wire.task, wire.training = task, config.model_dump()
    wire.save(run.bridge)
    return TrainResult(run.path, best, len(examples), sum(cut), time.monotonic() - started)


class _Trainer:
    """One training; its methods share the wire, the settings and the folder."""

    def __init__(
        self,
        wire: Wire,
        task: Task,
        config: TrainConfig,
        run: RunFolder,
        cache: StateCache,
        progress: Progress,
    ) -> None:
        self.wire, self.task, self.config, self.run = wire, task, config, run
        self.cache, self.progress = cache, progress
        self.asker = wire.asker(task)
        self.optimiser = torch.optim.AdamW(
            _decay_groups(wire.bridge, config.weight_decay), lr=config.lr, betas=(0.9, 0.95)
        )

    def fit(
        self,
        train: tuple[Sequence[Example], Sequence[str]],
        val: tuple[Sequence[Example], Sequence[str]],
        stop: Callable[[], bool],
        resume: bool,
    ) -> dict[str, float]:
        config, bridge = self.config, self.wire.bridge
        state = (
            load_checkpoint(self.run, bridge, self.optimiser) if resume else None
        ) or TrainState()
        log = _MetricsLog(self.run, state.step)
        note = ""
        with self.progress.task("training", config.steps, state.step) as bar, log:
            while state.step < config.steps:
                log.write({"step": state.step + 1, **self._step(state.step, train)})
                state.step += 1
                if state.step % config.eval_every == 0 or state.step == config.steps:
                    found = self.validate(*val)
                    log.write({"step": state.step, "val": found})
                    note = "  ".join(f"val {k} {v:.3f}" for k, v in found.items())
                    if state.best is None or _better(found, state.best):
                        state.best = {"step": state.step, **found}
                        state.best_weights = copy_weights(bridge)
                bar.advance(1, note)
                stopping = stop() and state.step < config.steps
                if stopping or state.step % config.save_every == 0 or state.step == config.steps:
                    log.flush()
                    save_checkpoint(self.run, state, bridge, self.optimiser, config.keep)
                if stopping:
                    raise InterruptedRunError(
                        f"Stopped after step {state.step} of {config.steps}; everything is saved. "
                        f"Go on with the same command and --resume (run folder {self.run.path})."
                    )
        assert state.best is not None and state.best_weights is not None
        bridge.load_state_dict(state.best_weights)
        bridge.eval()
        return state.best

    def _step(self, step: int, train: tuple[Sequence[Example], Sequence[str]]) -> dict[str, float]:
        """One optimiser step; what it did."""
        config = self.config
        self.wire.bridge.train()
        lr = config.lr * schedule(step, config.steps, config.warmup_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        total = 0.0
        for part in range(config.grad_accum):
            index = batch_indices(
                len(train[0]), config.batch_size, step * config.grad_accum + part, config.seed
            )
            loss = self.loss([train[0][i] for i in index], [train[1][i] for i in index])
            torch.autograd.backward(loss / config.grad_accum)
            total += float(loss.detach()) / config.grad_accum
        norm = float(nn.utils.clip_grad_norm_(self.wire.bridge.parameters(), config.clip_norm))
        if not (math.isfinite(total) and math.isfinite(norm)):
            raise NonFiniteError(
                f"Step {step + 1}: loss {total}, gradient norm {norm}. The weights were left as "
                f"they were. Lower --lr (now {config.lr}) or --clip-norm, and start again or "
                "--resume from the last checkpoint."
            )
        self.optimiser.step()
        return {"loss": total, "lr": lr, "grad_norm": norm}

    def loss(self, examples: Sequence[Example], texts: Sequence[str]) -> Tensor:
        """The objective on a batch; only the answer positions get logits."""
        states = self.cache.states(texts)
        soft = self.wire.bridge(states.states, states.mask)
        prompts = [self.asker.hand(example)[0].prompt for example in examples]
        answers = [self.asker.right_answer(p, e) for p, e in zip(prompts, examples)]
        loss = answer_loss(*self.wire.receiver.answer_logits(prompts, answers, soft))
        if self.config.diversity_weight:
            loss = loss + self.config.diversity_weight * diversity_loss(soft)
        return loss

    @torch.no_grad()
    def validate(self, examples: Sequence[Example], texts: Sequence[str]) -> dict[str, float]:
        """Mean loss in nats (among the choices, where there are choices) and accuracy."""
        self.wire.bridge.eval()
        loss, right = 0.0, 0
        for start in range(0, len(examples), _VAL_BATCH):
            part = examples[start : start + _VAL_BATCH]
            part_texts = texts[start : start + _VAL_BATCH]
            if not part[0].choices:
                loss += float(self.loss(part, part_texts)) * len(part)
                continue
            soft = self.wire.soft_tokens(self.cache.states(part_texts))
            responses = self.wire.respond(self.task, part, soft, ranking_only=True)
            for example, response in zip(part, responses):
                loss -= float(torch.tensor(response.scores).log_softmax(-1)[example.target])
                right += choose(self.task, example, response)[0] == example.target
        found = {"loss": loss / len(examples)}
        return {"accuracy": right / len(examples), **found} if examples[0].choices else found


def schedule(step: int, steps: int, warmup_steps: int) -> float:
    """Share of the highest learning rate at a step: linear warm-up, then a cosine to zero.

    Source: Loshchilov & Hutter 2017, SGDR, arXiv:1608.03983.
    """
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    return 0.5 * (1 + math.cos(math.pi * (step - warmup_steps) / max(steps - warmup_steps, 1)))


def batch_indices(n: int, batch_size: int, batch: int, seed: int) -> list[int]:
    """Examples of the batch with this number: a function of its arguments alone.

    Every epoch is a fresh permutation; a batch may end one epoch and begin the next.
    """
    index: list[int] = []
    for position in range(batch * batch_size, (batch + 1) * batch_size):
        index.append(_permutation(n, position // n, seed)[position % n])
    return index


@lru_cache(maxsize=4)
def _permutation(n: int, epoch: int, seed: int) -> tuple[int, ...]:
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    return tuple(torch.randperm(n, generator=generator).tolist())


def _better(found: dict[str, float], best: dict[str, float]) -> bool:
    def key(values: dict[str, float]) -> tuple[float, float]:
        return values.get("accuracy", 0.0), -values["loss"]

    return key(found) > key(best)


def _decay_groups(bridge: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices, not the anchors, queries, biases and norms."""
    decayed = [m.weight for m in bridge.modules() if isinstance(m, nn.Linear)]
    chosen = {id(p) for p in decayed}
    rest = [p for p in bridge.parameters() if id(p) not in chosen]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


def _setting(wire: Wire, task: Task, config: TrainConfig) -> dict[str, Any]:
    """What decides the result of a training; two runs with one setting are one run."""
    return {
        "wire": json.loads(json.dumps(asdict(wire.spec))),
        "train": config.model_dump(),
        "task": {"name": task.name, "version": task.version, "fingerprint": task.fingerprint},
        "sender": {"name": wire.sender.lm.name, "fingerprint": wire.sender.lm.fingerprint},
        "receiver": {"name": wire.receiver.lm.name, "fingerprint": wire.receiver.lm.fingerprint},
    }


class _MetricsLog:
    """metrics.jsonl: appended to in batches; what lies behind the resumed step is dropped."""

    def __init__(self, run: RunFolder, step: int) -> None:
        self._path = run.metrics
        self._rows: list[dict[str, Any]] = []
        if self._path.is_file():
            kept = []
            for line in self._path.read_text(encoding="utf-8").splitlines():
                try:
                    row = json.loads(line)
                except ValueError:
                    continue  # the line a kill cut in two
                if row["step"] <= step:
                    kept.append(row)
            write_jsonl(self._path, kept)

    def __enter__(self) -> _MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.flush()

    def write(self, row: dict[str, Any]) -> None:
        self._rows.append(row)
        if len(self._rows) >= 10:
            self.flush()

    def flush(self) -> None:
        with self._path.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(row) + "\n" for row in self._rows)
        self._rows = []


@contextmanager
def _stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first SIGINT or SIGTERM into a question the loop can ask; a second one kills."""
    asked = False

    def handle(number: int, _frame: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False  # signals reach the main thread only
        return
    signals = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, handle) for number in signals]
    try:
        yield lambda: asked
    finally:
        for number, old in zip(signals, before):
            signal.signal(number, old)
