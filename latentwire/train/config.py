"""Settings of one training, checked, with all mistakes reported together."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latentwire.errors import ConfigError


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
        diversity_weight: Weight of the loss that keeps soft tokens apart; 0 leaves it out.
        seed: Of the bridge, the order of examples and every sample.
        train_limit: Use only so many training examples, a seeded sample; None uses all.
        val_limit: The same for validation.
        eval_every: Steps between validations.
        save_every: Steps between checkpoints.
        keep: How many of the last checkpoints stay.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(default=200, ge=1)
    batch_size: int = Field(default=16, ge=1)
    grad_accum: int = Field(default=1, ge=1)
    lr: float = Field(default=1e-3, gt=0)
    warmup_steps: int = Field(default=20, ge=0)
    weight_decay: float = Field(default=0.01, ge=0)
    clip_norm: float = Field(default=1.0, gt=0)
    diversity_weight: float = Field(default=0.0, ge=0)
    seed: int = Field(default=0, ge=0)
    train_limit: int | None = Field(default=None, ge=1)
    val_limit: int | None = Field(default=None, ge=1)
    eval_every: int = Field(default=50, ge=1)
    save_every: int = Field(default=50, ge=1)
    keep: int = Field(default=2, ge=1)

    @classmethod
    def of(cls, **values: Any) -> TrainConfig:
        """Build and check. Raises: ConfigError: It lists every wrong key and the known ones."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [
                f"train.{'.'.join(map(str, e['loc']))}: {e['msg']} (given: {e['input']!r})"
                for e in error.errors()
            ]
            known = ", ".join(cls.model_fields)
            raise ConfigError(f"{'; '.join(lines)}. Known settings: {known}.") from error
