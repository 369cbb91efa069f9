"""The training loop, for bridges and for trained baselines."""

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
    TrainedObjects,
    TrainState,
    copy_weights,
    load_checkpoint,
    save_checkpoint,
)
from latentwire.train.config import TrainConfig
from latentwire.train.data_order import lr_factor
from latentwire.train.ema import WeightAverage
from latentwire.train.learner import Learner
from latentwire.train.metrics_log import MetricsLog
from latentwire.train.processes import Processes
from latentwire.train.signals import StopRequest, stop_error
from latentwire.train.trackers import Trackers
from latentwire.train.training_data import TaskData, plan_batches
from latentwire.train.validation import is_better, validate


class Trainer:
    """One training run.

    Args:
        learner: Runs the module to train.
        data: Data of each task.
        config: Training options.
        run: Run folder for checkpoints and metrics.
        processes: The processes that train together.
        stop: Stop request of this process.
        progress: Called after each step.
        trackers: Trackers that receive the metrics of each step.
    """

    def __init__(
        self,
        learner: Learner,
        data: Sequence[TaskData],
        config: TrainConfig,
        run: RunFolder,
        processes: Processes,
        stop: StopRequest,
        progress: Progress,
        trackers: Trackers | None = None,
    ) -> None:
        self.learner, self.data, self.config, self.run = learner, data, config, run
        self.processes, self.stop, self.progress = processes, stop, progress
        self.trackers = trackers or Trackers()
        self.module, self.loss = learner.module, learner.loss
        groups = [
            *_decay_groups(self.module, config.weight_decay),
            *_decay_groups(self.loss, config.weight_decay),
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=config.lr, betas=(0.9, 0.95))
        self.average = WeightAverage(self.module, config.ema) if config.ema else None
        self.trained = TrainedObjects(
            self.module, self.loss, self.optimizer, self.average, learner.device
        )
        self.plan = plan_batches(data, config, processes.world)

    def fit(self, resume: bool) -> TrainState:
        """Train to the end and load the best weights into the module.

        Raises: InterruptedRunError: If training was stopped by a signal, after a checkpoint.
        """
        config = self.config
        found = load_checkpoint(self.run, self.trained, self.processes) if resume else None
        state = found or TrainState()
        self._check_same_step(state)
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
                finished = self._is_finished(state)
                wanted = kind or state.step % config.save_every == 0
                if finished or (wanted and state.step > saved):
                    log.flush()
                    save_checkpoint(self.run, state, self.trained, config.keep, self.processes)
                    saved = state.step
                if finished:
                    break
                if kind:
                    raise stop_error(
                        kind,
                        f"Stopped after step {state.step} of {config.steps}; a checkpoint is saved "
                        f"in {self.run.path}. To resume, run the same command again, with "
                        "--resume for `train`.",
                    )
                log.write({"step": state.step + 1, **self._step(state.step)})
                state.step += 1
                bar.advance(1, note)
        assert state.best is not None and state.best_weights is not None
        self.module.load_state_dict(state.best_weights)
        self.module.eval()
        return state

    def _step(self, step: int) -> dict[str, Any]:
        """Run one optimizer step; return its metrics."""
        config, processes = self.config, self.processes
        self.module.train()
        self.loss.train()
        lr = config.lr * lr_factor(step, config.steps, config.warmup_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for turn in range(config.grad_accum):
            task, index = self.plan.batch(step * config.grad_accum + turn)
            first = processes.rank * config.batch_size
            mine = index[first : first + config.batch_size]
            loss, terms = self.learner(self.data[task], self.data[task].train, mine)
            torch.autograd.backward(loss / config.grad_accum)
            for name, value in {"loss": loss.detach(), **terms}.items():
                sums[name] = sums.get(name, 0.0) + value.float() / config.grad_accum
        processes.average_gradients([*self.module.parameters(), *self.loss.parameters()])
        norm = nn.utils.clip_grad_norm_(self.module.parameters(), config.clip_norm)
        if own := list(self.loss.parameters()):
            # Clipped separately: a critic's large gradient must not shrink the module's step.
            nn.utils.clip_grad_norm_(own, config.clip_norm)
        found = torch.stack([norm.detach(), *sums.values()]).tolist()
        norm_value, total, *values = [found[0], *processes.mean(found[1:])]
        if not (math.isfinite(total) and math.isfinite(norm_value)):
            raise NonFiniteError(
                f"Step {step + 1}: loss is {total}, gradient norm is {norm_value}. Weights "
                f"were not updated. Lower --lr (now {config.lr}) or --clip-norm and restart, or "
                "--resume from the last checkpoint."
            )
        self.optimizer.step()
        processes.broadcast([*self.module.buffers(), *self.loss.buffers()])
        if self.average is not None:
            self.average.update()
        terms_now = dict(zip([name for name in sums if name != "loss"], values))
        return {"loss": total, "lr": lr, "grad_norm": norm_value, "terms": terms_now}

    def _validate(self, state: TrainState, log: MetricsLog) -> str:
        """Validate and keep the best weights; return a summary line, empty if stopped."""
        with self.average.applied() if self.average else nullcontext():
            found = validate(self.learner, self.data, self.processes, self.stop)
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

    def _is_finished(self, state: TrainState) -> bool:
        if self._must_validate(state):
            return False
        patience = self.config.patience
        return state.step >= self.config.steps or bool(patience and state.stale >= patience)

    def _stop_kind(self) -> int:
        """Kind of the stop request of any process; the same value in all processes."""
        return int(self.processes.largest(self.stop.kind))

    def _check_same_step(self, state: TrainState) -> None:
        """Raise DataError if the processes loaded checkpoints of different steps."""
        last, first = self.processes.largest(state.step), -self.processes.largest(-state.step)
        if last != first:
            raise DataError(
                f"The processes see different checkpoints in {self.run.checkpoints} (steps "
                f"{first:.0f} to {last:.0f}). Use a run folder on a file system that all processes "
                "share."
            )


def _decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Parameter groups: weight decay for linear weights, none for all other parameters."""
    decayed = [m.weight for m in module.modules() if isinstance(m, nn.Linear)]
    chosen = {id(p) for p in decayed}
    rest = [p for p in module.parameters() if id(p) not in chosen]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]
