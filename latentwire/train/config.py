"""Training configuration: one validated, frozen object. Importing it loads no torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from latentwire.core.errors import ConfigError

if TYPE_CHECKING:
    from latentwire.data import Task
    from latentwire.objectives import LossTerm

_OPTIMIZATION: dict[str, Any] = {"group": "Optimization"}
_OBJECTIVE: dict[str, Any] = {"group": "Objective"}
_INITIALIZATION: dict[str, Any] = {"group": "Initialization"}
_VALIDATION: dict[str, Any] = {"group": "Validation and checkpoints"}
_HARDWARE: dict[str, Any] = {"group": "Hardware"}
_DATA: dict[str, Any] = {"group": "Data"}


class TrainConfig(BaseModel):
    """Options of one training run. The defaults were chosen on val for the embedded pair.

    Each field's description is the help text of its command line option, and its `group` in the
    JSON schema is the heading under which the option is listed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    steps: int = Field(
        default=100, ge=1, description="Number of optimizer steps.", json_schema_extra=_OPTIMIZATION
    )
    batch_size: int = Field(
        default=16,
        ge=1,
        description="Examples per forward pass and process.",
        json_schema_extra=_OPTIMIZATION,
    )
    grad_accum: int = Field(
        default=1,
        ge=1,
        description="Forward passes whose gradients are accumulated for one optimizer step.",
        json_schema_extra=_OPTIMIZATION,
    )
    lr: float = Field(
        default=5e-4, gt=0, description="Peak learning rate.", json_schema_extra=_OPTIMIZATION
    )
    warmup_steps: int = Field(
        default=10,
        ge=0,
        description="Steps of linear learning rate warm-up, followed by cosine decay to zero.",
        json_schema_extra=_OPTIMIZATION,
    )
    weight_decay: float = Field(
        default=0.01,
        ge=0,
        description="AdamW weight decay, applied to weight matrices only.",
        json_schema_extra=_OPTIMIZATION,
    )
    clip_norm: float = Field(
        default=1.0, gt=0, description="Maximum gradient norm.", json_schema_extra=_OPTIMIZATION
    )
    loss: str = Field(
        default="answer",
        description="Weighted sum of objectives, such as 'answer+0.5*kd(temperature=2)'.",
        json_schema_extra=_OBJECTIVE,
    )
    mixing: Literal["proportional", "equal"] = Field(
        default="proportional",
        description="How several tasks are mixed: 'proportional' to their number of training "
        "examples, or 'equal'.",
        json_schema_extra=_DATA,
    )
    ema: float = Field(
        default=0.95,
        ge=0,
        lt=1,
        description="Decay per step of the exponential moving average of the weights; the averaged "
        "weights are validated and saved. 0 turns averaging off.",
        json_schema_extra=_OPTIMIZATION,
    )
    patience: int | None = Field(
        default=None,
        ge=1,
        description="Number of validations without improvement after which training stops; by "
        "default training never stops early.",
        json_schema_extra=_VALIDATION,
    )
    init: str = Field(
        default="auto",
        description="Initial bridge weights: 'ridge' solves the linear path in closed form, "
        "'fresh' starts at random weights, 'auto' uses ridge if the bridge has a linear path; "
        "or a run folder, whose bridge is loaded.",
        json_schema_extra=_INITIALIZATION,
    )
    precision: Literal["auto", "float32"] = Field(
        default="auto",
        description="Precision of the bridge's forward pass: 'auto' is bfloat16 if the receiver "
        "is in bfloat16 on a GPU, else float32. Weights are always float32.",
        json_schema_extra=_HARDWARE,
    )
    recompute: bool = Field(
        default=False,
        description="Recompute the receiver's activations in the backward pass (gradient "
        "checkpointing): less memory, more time.",
        json_schema_extra=_HARDWARE,
    )
    compile: bool = Field(
        default=False,
        description="Compile the bridge with torch.compile.",
        json_schema_extra=_HARDWARE,
    )
    shard_receiver: bool = Field(
        default=False,
        description="Shard the receiver over all processes (FSDP), for a receiver that does not "
        "fit on one device.",
        json_schema_extra=_HARDWARE,
    )
    seed: int = Field(
        default=0,
        ge=0,
        description="Random seed for initial weights, data order and sampling.",
        json_schema_extra=_INITIALIZATION,
    )
    train_limit: int | None = Field(
        default=None,
        ge=1,
        description="Number of training examples to use, a seeded sample; all by default.",
        json_schema_extra=_DATA,
    )
    val_limit: int | None = Field(
        default=None,
        ge=1,
        description="Number of validation examples to use, a seeded sample; all by default.",
        json_schema_extra=_DATA,
    )
    eval_every: int = Field(
        default=25,
        ge=1,
        description="Steps between validations.",
        json_schema_extra=_VALIDATION,
    )
    save_every: int = Field(
        default=50,
        ge=1,
        description="Steps between checkpoints.",
        json_schema_extra=_VALIDATION,
    )
    keep: int = Field(
        default=2,
        ge=1,
        description="Number of latest checkpoints to keep.",
        json_schema_extra=_VALIDATION,
    )

    @field_validator("loss")
    @classmethod
    def _check_loss(cls, loss: str, info: ValidationInfo) -> str:
        from latentwire.objectives import OBJECTIVES, parse_loss

        pairs = [t.name for t in parse_loss(loss) if OBJECTIVES.get(t.name).needs_pairs]
        if pairs and info.data.get("batch_size") == 1:
            raise ValueError(
                f"{pairs[0]} compares the examples of a batch; set batch_size to 2 or more"
            )
        return loss

    @property
    def terms(self) -> tuple[LossTerm, ...]:
        """Parsed terms of `loss`."""
        from latentwire.objectives import parse_loss

        return parse_loss(self.loss)

    def check(self, tasks: Sequence[Task], n_processes: int) -> None:
        """Check the configuration against the tasks and the number of processes.

        Raises: ConfigError: If an option does not apply; the message lists all of them.
        """
        from latentwire.objectives import OBJECTIVES

        wrong = []
        choosing = [t.name for t in self.terms if OBJECTIVES.get(t.name).needs_choices]
        if choosing and (written := [t.name for t in tasks if t.kind == "generation"]):
            fitting = [n for n in OBJECTIVES.names() if not OBJECTIVES.get(n).needs_choices]
            wrong.append(
                f"train.loss: {', '.join(choosing)} compares distributions over an example's "
                f"choices, but {', '.join(written)} has free-form answers and no choices. Remove "
                f"the term, or use one of: {', '.join(fitting)}"
            )
        if self.shard_receiver and n_processes < 2:
            wrong.append(
                "train.shard_receiver: sharding needs at least two processes, and there is one. "
                "Start training with torchrun --nproc-per-node N, or turn the option off"
            )
        if wrong:
            raise ConfigError("; ".join(wrong) + ".")

    @classmethod
    def of(cls, **values: Any) -> TrainConfig:
        """Build and validate. Raises: ConfigError: Lists all invalid keys and the known ones."""
        try:
            return cls(**values)
        except ValidationError as error:
            lines = [
                f"train.{'.'.join(map(str, e['loc']))}: {e['msg'].removeprefix('Value error, ')} "
                f"(given: {e['input']!r})"
                for e in error.errors()
            ]
            known = ", ".join(cls.model_fields)
            raise ConfigError(f"{'; '.join(lines)}. Known options: {known}.") from error
