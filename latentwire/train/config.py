"""Settings of one training, checked, with all mistakes reported together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from latentwire.core.errors import ConfigError
from latentwire.data import Task
from latentwire.objectives import OBJECTIVES, Term, parse_loss


class TrainConfig(BaseModel):
    """How a bridge is trained. Defaults are the ones chosen on val for the embedded pair.

    Attributes:
        steps: Optimiser steps.
        batch_size: Examples per forward pass.
        grad_accum: Forward passes per step.
        lr: Highest learning rate of AdamW.
        warmup_steps: Steps of linear warm-up; a cosine to zero follows.
        weight_decay: Of AdamW, on matrices only.
        clip_norm: Largest gradient norm.
        loss: Weighted objectives, e.g. `answer+0.5*kd(temperature=2)`; see OBJECTIVES.
        mixing: Of several tasks: `proportional` to their examples, or `equal`.
        ema: Decay of a moving average of the weights, which is then validated and kept; 0: off.
        patience: Validations without a better one before training ends early; None: never.
        init: Where the bridge starts: `ridge`, its linear path at the closed-form map to the right
            answers' embeddings; `fresh`, at random weights; `auto`, ridge where the kind has such
            a path; or the folder of a run, at its bridge.
        precision: Of the bridge's forward pass: `auto` is bfloat16 where the receiver is so on a
            GPU, else float32; weights are float32 always.
        recompute: Gradient checkpointing of the receiver: less memory, more time.
        compile: Run the bridge through torch.compile.
        shard_receiver: Several processes hold the receiver's blocks together (FSDP): for one that
            does not fit one device. All of them then validate all examples.
        seed: Of the bridge, the order of examples and every sample.
        train_limit: Use only so many training examples, a seeded sample; None uses all.
        val_limit: The same for validation.
        eval_every: Steps between validations.
        save_every: Steps between checkpoints.
        keep: How many of the last checkpoints stay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=100, ge=1)
    batch_size: int = Field(default=16, ge=1)
    grad_accum: int = Field(default=1, ge=1)
    lr: float = Field(default=5e-4, gt=0)
    warmup_steps: int = Field(default=10, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    loss: str = "answer"
    mixing: Literal["proportional", "equal"] = "proportional"
    ema: float = Field(default=0.95, ge=0, lt=1)
    patience: int | None = Field(default=None, ge=1)
    init: str = "auto"
    precision: Literal["auto", "float32"] = "auto"
    recompute: bool = False
    compile: bool = False
    shard_receiver: bool = False
    seed: int = Field(default=0, ge=0)
    train_limit: int | None = Field(default=None, ge=1)
    val_limit: int | None = Field(default=None, ge=1)
    eval_every: int = Field(default=25, ge=1)
    save_every: int = Field(default=50, ge=1)
    keep: int = Field(default=2, ge=1)

    @field_validator("loss")
    @classmethod
    def _loss_reads(cls, loss: str, info: ValidationInfo) -> str:
        pairs = [t.name for t in parse_loss(loss) if OBJECTIVES.get(t.name).needs_pairs]
        if pairs and info.data.get("batch_size") == 1:
            raise ValueError(f"{pairs[0]} compares examples; it needs a batch_size of 2 or more")
        return loss

    @property
    def terms(self) -> tuple[Term, ...]:
        """The objectives of `loss`."""
        return parse_loss(self.loss)

    def check(self, tasks: Sequence[Task], n_processes: int) -> None:
        """Whether these settings have a meaning for some tasks and so many processes.

        Raises: ConfigError: It lists every setting that has none.
        """
        wrong = []
        choosing = [t.name for t in self.terms if OBJECTIVES.get(t.name).needs_choices]
        if choosing and (written := [t.name for t in tasks if t.kind == "generation"]):
            fitting = [n for n in OBJECTIVES.names() if not OBJECTIVES.get(n).needs_choices]
            wrong.append(
                f"train.loss: {', '.join(choosing)} compares distributions over an item's choices; "
                f"answers of {', '.join(written)} are written and have none. Leave it out, or use "
                f"one of {', '.join(fitting)}"
            )
        if self.shard_receiver and n_processes < 2:
            wrong.append(
                "train.shard_receiver: the receiver is spread over several processes, and this is "
                "one alone. Start them with torchrun --nproc-per-node N, or leave it out"
            )
        if wrong:
            raise ConfigError("; ".join(wrong) + ".")

    @classmethod
    def of(cls, **values: Any) -> TrainConfig:
        """Build and check. Raises: ConfigError: It lists every wrong key and the known ones."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [
                f"train.{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')} "
                f"(given: {e['input']!r})"
                for e in error.errors()
            ]
            known = ", ".join(cls.model_fields)
            raise ConfigError(f"{'; '.join(lines)}. Known settings: {known}.") from error
