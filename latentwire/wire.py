"""A wire: sender + bridge + receiver. The only place where models and bridges meet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, overload

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.answering import Response, respond
from latentwire.asking import SENDER_PROMPTS, Asker, sender_texts
from latentwire.bridge import BRIDGES, Bridge, build_bridge
from latentwire.bridge.saving import bridge_fingerprint, load_bridge, save_bridge
from latentwire.calibration import calibration
from latentwire.data import Example, Task
from latentwire.data.spec import Setting, TaskSpec
from latentwire.errors import BridgeError, MessageError, PairMismatchError, UsageError
from latentwire.message import Message
from latentwire.models import LanguageModel, Receiver, Sender, SenderStates
from latentwire.models.pair import default_layer, load_pair
from latentwire.progress import Progress


@dataclass(frozen=True)
class WireSpec:
    """What makes two wires of one pair differ.

    Args:
        bridge: Kind of bridge.
        soft_tokens: Length of a message.
        layers: Sender layers the bridge reads.
        sender_prompt: `raw`: the sender reads the text alone; `aware`: the text and the task.
        setting: What the sender reads and what the receiver is asked (`Task.setting`); None
            leaves it to the task.
        max_tokens: Longest text in sender tokens; None leaves it to the task.
        prompt: What the receiver reads, with the place `{context}` for the message; None leaves it
            to the warm start of the training, else it is the task's first.
        encoding: How a message is written: `fp16` or `fp32`.
        options: Options of the bridge's kind.
    """

    bridge: str
    soft_tokens: int
    layers: tuple[int, ...]
    sender_prompt: str = "raw"
    setting: Setting | None = None
    max_tokens: int | None = None
    prompt: str | None = None
    encoding: str = "fp16"
    options: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Answer:
    """What the receiver answers.

    Args:
        label: The best choice, or the text that the receiver wrote.
        scores: Probability of every choice among the choices, in the task's order; none for a
            written answer.
        truncated: Whether the text was longer than the sender reads.
    """

    label: str
    scores: dict[str, float]
    truncated: bool


class Wire:
    """A latent channel from one frozen model to another.

    Build one with `Wire.build` or `Wire.from_pretrained`; train it with `train_bridge`.
    """

    def __init__(self, sender: Sender, receiver: Receiver, bridge: Bridge, spec: WireSpec) -> None:
        if spec.sender_prompt not in SENDER_PROMPTS:
            raise UsageError(
                f"Unknown sender prompt '{spec.sender_prompt}'. Known: {', '.join(SENDER_PROMPTS)}."
            )
        if spec.prompt is not None and "{context}" not in spec.prompt:
            raise UsageError(
                f"The receiver's prompt {spec.prompt!r} has no place for the message: write "
                "{context} where it shall stand."
            )
        if receiver.reads != bridge.writes:
            raise UsageError(
                f"The {bridge.kind} bridge writes {bridge.writes}, this receiver reads "
                f"{receiver.reads}. Give Receiver(lm, reads='{bridge.writes}')."
            )
        self.sender, self.receiver, self.spec = sender, receiver, spec
        self.bridge = bridge.to(receiver.lm.device)
        self.task: Task | None = None
        self.prompts: dict[str, str] = {}  # task -> what its receiver reads, chosen in training
        self.training: dict[str, Any] = {}  # settings it was trained with, for equal budgets
        self._named: tuple[tuple[int, ...], str] | None = None

    # -- making and keeping -------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        sender: str | LanguageModel | None = None,
        receiver: str | LanguageModel | None = None,
        *,
        pair: str | None = None,
        bridge: str = "perceiver",
        soft_tokens: int = 8,
        layer: int | Sequence[int] | None = None,
        sender_prompt: str = "raw",
        setting: Setting | None = None,
        max_tokens: int | None = None,
        prompt: str | None = None,
        seed: int = 0,
        device: str = "auto",
        dtype: str = "auto",
        progress: Progress | None = None,
        **options: Any,
    ) -> Wire:
        """Load a pair and put an untrained bridge between them.

        Args:
            sender: Name of the sending model, or a loaded one.
            receiver: Name of the receiving model, or a loaded one.
            pair: Preset for names not given: `embedded` (default), `paper`, `fake`.
            bridge: Kind of bridge, see `latentwire bridges`.
            soft_tokens: Length of a message.
            layer: Sender layer(s) to read; at three tenths of the depth by default.
            sender_prompt: `raw` or `aware`.
            setting: `blind`, `shared` or `split`; the task's own by default.
            max_tokens: Longest text in sender tokens; the task's limit by default.
            prompt: What the receiver reads, with the place `{context}` for the message; chosen in
                training by default.
            seed: Of the bridge's first weights.
            device: `auto`, `cpu`, `cuda`, `cuda:N`, `mps`.
            dtype: Of the frozen models: `auto`, `float32`, `bfloat16`, `float16`.
            progress: Told when a model is converted.
            options: Options of the bridge's kind.
        Raises: UnknownNameError, UsageError, MissingPackageError, ModelError (also where a kind
            writes a deep prefix and the receiver takes none).
        """
        lms = load_pair(sender, receiver, pair=pair, device=device, dtype=dtype, progress=progress)
        reading = Sender(lms[0])
        answering = Receiver(lms[1], reads=BRIDGES.get(bridge).writes)
        if layer is None:
            layer = default_layer(lms[0].n_layers)
        layers = reading.check_layers([layer] if isinstance(layer, int) else layer)
        made = build_bridge(
            bridge,
            n_layers=len(layers),
            sender_width=lms[0].width,
            receiver_width=answering.soft_width,
            soft_tokens=soft_tokens,
            seed=seed,
            **options,
        )
        spec = WireSpec(
            bridge=made.kind,
            soft_tokens=soft_tokens,
            layers=layers,
            sender_prompt=sender_prompt,
            setting=setting,
            max_tokens=max_tokens,
            prompt=prompt,
            options=options,
        )
        return cls(reading, answering, made, spec)

    @classmethod
    def from_pretrained(
        cls,
        folder: str | Path,
        *,
        sender: str | LanguageModel | None = None,
        receiver: str | LanguageModel | None = None,
        device: str = "auto",
        dtype: str = "auto",
        progress: Progress | None = None,
    ) -> Wire:
        """Load a trained wire from a run folder or a bridge folder.

        Args:
            folder: The run's folder, or its `bridge/`.
            sender: Only if the model now lies elsewhere than when the bridge was trained.
            receiver: The same for the receiver.
            device: As in `build`.
            dtype: As in `build`.
            progress: As in `build`.
        Raises:
            BridgeError: If the folder is missing, foreign or damaged.
            PairMismatchError: If a model is not the one the bridge was trained for.
        """
        folder = Path(folder)
        inner = folder / "bridge"
        bridge, config = load_bridge(inner if inner.is_dir() else folder)
        if missing := [key for key in ("sender", "receiver", "wire") if not config.get(key)]:
            raise BridgeError(f"The bridge in {folder} does not say its {', '.join(missing)}.")
        lms = load_pair(
            sender or config["sender"]["name"],
            receiver or config["receiver"]["name"],
            device=device,
            dtype=dtype,
            progress=progress,
        )
        for role, lm in zip(("sender", "receiver"), lms):
            if lm.fingerprint != config[role]["fingerprint"]:
                raise PairMismatchError(
                    f"The bridge in {folder} was trained for the {role} "
                    f"'{config[role]['name']}' ({config[role]['fingerprint']}); "
                    f"'{lm.name}' ({lm.fingerprint}) is another model. Train a bridge for it."
                )
        spec = dict(config["wire"])
        spec["layers"] = tuple(spec["layers"])
        receiving = Receiver(lms[1], reads=bridge.writes)
        wire = cls(Sender(lms[0]), receiving, bridge, WireSpec(**spec))
        if config.get("task"):
            base = config.get("task_folder")
            spec_of_task = TaskSpec.model_validate(config["task"])
            wire.task = Task(spec_of_task, Path(base) if base else None)
        wire.prompts = dict(config.get("prompts") or {})
        wire.training = dict(config.get("training") or {})
        return wire

    def save(self, folder: str | Path) -> None:
        """Write the bridge and what it belongs to into `folder`, atomically."""
        facts = {
            "wire": asdict(self.spec),
            "sender": {**_identity(self.sender.lm), "layers": list(self.spec.layers)},
            "receiver": _identity(self.receiver.lm),
            "task": self.task.spec.model_dump(mode="json") if self.task else None,
            "task_folder": str(self.task.base.resolve()) if self.task and self.task.base else None,
            "prompts": self.prompts,
            "training": self.training,
            "fingerprint": self.fingerprint,
        }
        save_bridge(self.bridge, self.spec.options, facts, Path(folder))

    @property
    def fingerprint(self) -> str:
        """Names the bridge's weights; messages carry it."""
        versions = tuple(value._version for value in self.bridge.state_dict().values())
        if self._named is None or self._named[0] != versions:  # hashing again costs milliseconds
            self._named = (versions, bridge_fingerprint(self.bridge))
        return self._named[1]

    @property
    def pair(self) -> dict[str, str]:
        """Names of the two models."""
        return {"sender": self.sender.lm.name, "receiver": self.receiver.lm.name}

    def calibrate(
        self,
        states: SenderStates,
        words: Sequence[str],
        seed: int = 0,
        *,
        texts: Sequence[str] = (),
    ) -> None:
        """Give the bridge the scales of the pair before training.

        Args:
            states: Sender states of some training texts.
            words: Texts whose receiver embeddings the soft tokens start from, in turn; real
                embeddings drawn at random where there are none.
            seed: Of that draw.
            texts: What the sender read to have these states, in their order. Kinds that start
                from shared text need it.
        Raises: ConfigError: If the bridge's kind needs texts and there are none.
        """
        self.bridge.calibrate(
            calibration(
                self.bridge, states, self.sender.lm, self.receiver.lm, words, seed, texts=texts
            )
        )

    # -- using --------------------------------------------------------------------------------

    def sender_texts(self, task: Task, examples: Sequence[Example]) -> tuple[list[str], list[bool]]:
        """What the sender reads for each example, cut to length, and whether it was cut."""
        spec, lm = self.spec, self.sender.lm
        return sender_texts(task, lm, examples, spec.sender_prompt, spec.max_tokens, spec.setting)

    @torch.inference_mode()
    def soft_tokens(self, states: SenderStates) -> Float[Tensor, "b k dr"]:
        """Soft tokens for sender states, float32, on the receiver's device."""
        device = self.receiver.lm.device
        return self.bridge(states.states.to(device), states.mask.to(device))  # type: ignore[no-any-return]

    def send(self, texts: Sequence[str], questions: Sequence[str] | None = None) -> list[Message]:
        """One message for each text: what would travel to the receiver's machine.

        Args:
            texts: What the sender reads.
            questions: One for each text, for tasks whose items have a question of their own.
        Raises: UsageError: If a text is empty or a question is missing.
        """
        return self._send(self._examples(texts, questions))[0]

    def receive(
        self, messages: Sequence[Message], questions: Sequence[str] | None = None
    ) -> list[Response]:
        """What the receiver answers to each message.

        Args:
            messages: Made by this wire's bridge.
            questions: What it is asked, for tasks whose items have a question of their own.
        Raises:
            MessageError: If another bridge made a message.
            UsageError: If a question is missing.
        """
        return self._receive(messages, self._examples(["-"] * len(messages), questions))

    def respond(
        self,
        task: Task,
        examples: Sequence[Example],
        soft: Float[Tensor, "b k dr"],
        *,
        ranking_only: bool = False,
    ) -> list[Response]:
        """The receiver's answer to each example, given its soft tokens."""
        asker = self.asker(task)
        requests = [asker.hand(example) for example in examples]
        return respond(self.receiver, task, requests, soft, ranking_only=ranking_only)

    def asker(self, task: Task) -> Asker:
        """Renders what the receiver reads around the soft tokens."""
        setting = task.setting(self.spec.setting)
        template = self.prompts.get(task.name) or self.prompts_for(task)[0]
        return Asker(task, self.receiver.lm, template, self.spec.max_tokens, setting)

    def prompts_for(self, task: Task) -> tuple[str, ...]:
        """What the receiver may read around the soft tokens: the one given, or the task's."""
        given = self.spec.prompt
        return (given,) if given else task.handed_prompts(task.setting(self.spec.setting))

    @overload
    def answer(self, text: str, question: str | None = None) -> Answer: ...
    @overload
    def answer(
        self, text: list[str] | tuple[str, ...], question: Sequence[str] | None = None
    ) -> list[Answer]: ...
    def answer(
        self,
        text: str | list[str] | tuple[str, ...],
        question: str | Sequence[str] | None = None,
    ) -> Answer | list[Answer]:
        """Let the sender read, the message travel and the receiver answer the task's question.

        Args:
            text: One text, or several that are then run as one batch.
            question: The question about it (or about each), for tasks whose items have one.
        Raises: UsageError: If the wire was not trained on a task yet, a text is empty or a
            question is missing.
        """
        task = self._need_task()
        one = isinstance(text, str)
        texts = [text] if isinstance(text, str) else text
        questions = [question] if isinstance(question, str) else question
        examples = self._examples(texts, questions)
        messages, cut = self._send(examples)
        answers = []
        for response, was_cut in zip(self._receive(messages, examples), cut):
            if response.text is not None:
                answers.append(Answer(response.text, {}, was_cut))
                continue
            shares = torch.tensor(response.scores).softmax(-1).tolist()
            best = max(range(len(shares)), key=shares.__getitem__)
            answers.append(Answer(task.labels[best], dict(zip(task.labels, shares)), was_cut))
        return answers[0] if one else answers

    def pack(self, soft: Float[Tensor, "b k dr"]) -> list[Message]:
        """Soft tokens as messages of this wire."""
        return [Message(row, self.fingerprint, self.spec.encoding) for row in soft]

    def _send(self, examples: Sequence[Example]) -> tuple[list[Message], list[bool]]:
        read, cut = self.sender_texts(self._need_task(), examples)
        soft = self.soft_tokens(self.sender.encode(read, self.spec.layers))
        # Through bytes, so that a message that never leaves the machine is rounded all the same.
        return [Message.from_bytes(m.to_bytes()) for m in self.pack(soft)], cut

    def _receive(self, messages: Sequence[Message], examples: Sequence[Example]) -> list[Response]:
        for message in messages:
            if message.bridge != self.fingerprint:
                raise MessageError(
                    f"The message was made by bridge {message.bridge}, this wire has "
                    f"{self.fingerprint}: its soft tokens mean nothing here."
                )
        soft = torch.stack([message.soft for message in messages]).to(self.receiver.lm.device)
        return self.respond(self._need_task(), examples, soft, ranking_only=True)

    def _need_task(self) -> Task:
        if self.task is None:
            raise UsageError(
                "This wire was not trained yet: run train_bridge(wire, task, out_dir=...) first."
            )
        return self.task

    def _examples(self, texts: Sequence[str], questions: Sequence[str] | None) -> list[Example]:
        """Texts as examples of the task, without a right answer."""
        task = self._need_task()
        if not task.labels and task.kind != "generation":
            raise UsageError(
                f"The choices of task '{task.name}' differ from example to example: "
                "use wire.respond(task, examples, soft)."
            )
        if task.setting(self.spec.setting) == "shared":
            raise UsageError(
                "In the setting 'shared' the receiver reads the text, too: "
                "use wire.respond(task, examples, soft)."
            )
        asked = [question for question in questions or () if question.strip()]
        if len(asked) != (len(texts) if task.asks else 0):
            wants = "one question for each text" if task.asks else "no question beside the text"
            raise UsageError(
                f"Task '{task.name}' wants {wants}; it was given {len(texts)} text(s) and "
                f"{len(asked)} question(s)."
            )
        if not all(text.strip() for text in texts):
            raise UsageError("The text is empty: there is nothing to send.")
        return [
            Example("", text, question, task.labels, None, ())
            for text, question in zip(texts, asked or [""] * len(texts))
        ]


def _identity(lm: LanguageModel) -> dict[str, str]:
    return {"name": lm.name, "fingerprint": lm.fingerprint}
