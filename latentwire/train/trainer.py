"""The training loop: of a bridge between frozen models, or of a baseline with the same budget."""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from latentwire.core.errors import DataError, NonFiniteError
from latentwire.core.progress import Progress
from latentwire.core.run_folder import RunFolder
from latentwire.train.checkpoints import (
    Trained,
    TrainState,
    copy_weights,
    load_checkpoint,
    save_checkpoint,
)
from latentwire.train.config import TrainConfig
from latentwire.train.data_order import schedule
from latentwire.train.ema import WeightAverage
from latentwire.train.learner import Learner
from latentwire.train.metrics_log import MetricsLog
from latentwire.train.processes import Processes
from latentwire.train.signals import StopRequest, stopped
from latentwire.train.trackers import Trackers
from latentwire.train.training_data import TaskData, plan_batches
from latentwire.train.validation import is_better, validate


class Trainer:
    """One training; its methods share the models, the settings and the folder.

    Args:
        forward: What is trained.
        data: The tasks.
        config: Settings.
        run: Where checkpoints and metrics go.
        processes: Those that train together.
        stop: Whether this process was asked to stop.
        progress: Told of each step.
        trackers: Told of what each step measures.
    """

    def __init__(
        self,
        forward: Learner,
        data: Sequence[TaskData],
        config: TrainConfig,
        run: RunFolder,
        processes: Processes,
        stop: StopRequest,
        progress: Progress,
        trackers: Trackers | None = None,
    ) -> None:
        self.forward, self.data, self.config, self.run = forward, data, config, run
        self.processes, self.stop, self.progress = processes, stop, progress
        self.trackers = trackers or Trackers()
        self.module, self.loss = forward.module, forward.loss
        groups = [
            *_decay_groups(self.module, config.weight_decay),
            *_decay_groups(self.loss, config.weight_decay),
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95))
        self.average = WeightAverage(self.module, config.ema) if config.ema else None
        self.trained = Trained(
            self.module,
            self.loss,
            self.optimiser,
            self.average,
            forward.device,
        )
        self.plan = plan_batches(data, config, processes.world)

    def fit(self, resume: bool) -> TrainState:
        """Train to the end and leave the best weights in the module.

        Raises: InterruptedRunError: If it was asked to stop; the checkpoint is written.
        """
        config = self.config
        found = load_checkpoint(self.run, self.trained, self.processes) if resume else None
        state = found or TrainState()
        self._agree(state)
        log = MetricsLog(
            self.run, state.step, active=self.processes.is_first, trackers=self.trackers
        )
        saved, note = state.step, ""
        with self.progress.task("training", config.steps, state.step) as bar, log:
            while True:
                kind = self._stop_kind()
                if self._must_validate(state) and not kind:
                    note = self._validate(state, log)
                    kind = self._stop_kind()
                over = self._is_over(state)
                wanted = kind or state.step % config.save_every == 0
                if over or (wanted and state.step > saved):
                    log.flush()
                    save_checkpoint(self.run, state, self.trained, config.keep, self.processes)
                    saved = state.step
                if over:
                    break
                if kind:
                    raise stopped(
                        kind,
                        f"Stopped after step {state.step} of {config.steps}; everything is saved "
                        f"in {self.run.path}. Go on with the same command (train: and --resume).",
                    )
                log.write({"step": state.step + 1, **self._step(state.step)})
                state.step += 1
                bar.advance(1, note)
        assert state.best is not None and state.best_weights is not None
        self.module.load_state_dict(state.best_weights)
        self.module.eval()
        return state

    def _step(self, step: int) -> dict[str, Any]:
        """One optimiser step; what it did."""
        config, processes = self.config, self.processes
        self.module.train()
        self.loss.train()
        lr = config.lr * schedule(step, config.steps, config.warmup_steps)
        for group in self.optimiser.param_groups:
            group["lr"] = lr
        self.optimiser.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for part in range(config.grad_accum):
            task, index = self.plan.batch(step * config.grad_accum + part)
            first = processes.rank * config.batch_size
            mine = index[first : first + config.batch_size]
            loss, terms = self.forward(self.data[task], self.data[task].train, mine)
            torch.autograd.backward(loss / config.grad_accum)
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.float() / config.grad_accum
        processes.average_gradients([*self.module.parameters(), *self.loss.parameters()])
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        if parts := list(self.loss.parameters()):
            # Apart from the module: a critic's large gradient must not shrink its step.
            nn.utils.clip_grad_norm_(parts, config.clip_norm)
        found = torch.stack([norm.detach(), *sums.values()]).tolist()
        norm_value, total, *values = [found[0], *processes.mean(found[1:])]
        if not (math.isfinite(total) and math.isfinite(norm_value)):
            raise NonFiniteError(
                f"Step {step + 1}: loss {total}, gradient norm {norm_value}. The weights were left "
                f"as they were. Lower --lr (now {config.lr}) or --clip-norm, and start again or "
                "--resume from the last checkpoint."
            )
        self.optimiser.step()
        processes.share([*self.module.buffers(), *self.loss.buffers()])
        if self.average is not None:
            self.average.update(self.module, step + 1)
        terms_now = dict(zip([name for name in sums if name != "loss"], values))
        return {"loss": total, "lr": lr, "grad_norm": norm_value, "terms": terms_now}

    def _validate(self, state: TrainState, log: MetricsLog) -> str:
        """Validate and keep the weights if they are the best; a line about it, '' if stopped."""
        with self.average.applied(self.module) if self.average else nullcontext():
            found = validate(self.forward, self.data, self.processes, self.stop)
            if found is None:
                return ""
            log.write({"step": state.step, "val": found})
            state.validated, state.stale = state.step, state.stale + 1
            if state.best is None or is_better(found, state.best):
                state.best, state.stale = {"step": state.step, **found}, 0
                state.best_weights = copy_weights(self.module)
        return "  ".join(f"val {key} {value:.3f}" for key, value in found.items())

    def _must_validate(self, state: TrainState) -> bool:
        due = state.step % self.config.eval_every == 0 or state.step == self.config.steps
        return due and state.step > state.validated

    def _is_over(self, state: TrainState) -> bool:
        if self._must_validate(state):
            return False
        patience = self.config.patience
        return state.step >= self.config.steps or bool(patience and state.stale >= patience)

    def _stop_kind(self) -> int:
        """Who asked any of the processes to stop; all get the same answer."""
        return int(self.processes.largest(self.stop.kind))

    def _agree(self, state: TrainState) -> None:
        """Let all processes go on from one step, whatever each saw on its disk."""
        ahead, behind = self.processes.largest(state.step), -self.processes.largest(-state.step)
        if ahead != behind:
            raise DataError(
                f"The processes see different checkpoints in {self.run.checkpoints} (steps "
                f"{behind:.0f} to {ahead:.0f}). They must share the run folder: give one on a "
                "file system that all of them mount."
            )


def _decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Decay matrices, not the anchors, queries, biases and norms."""
    decayed = [m.weight for m in module.modules() if isinstance(m, nn.Linear)]
    chosen = {id(p) for p in decayed}
    rest = [p for p in module.parameters() if id(p) not in chosen]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
