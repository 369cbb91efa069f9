"""The receiving half of a wire: messages and questions -> answers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from latentwire.core.errors import MessageError, UsageError
from latentwire.core.progress import Progress
from latentwire.data import Example, Task
from latentwire.data.metrics import Response
from latentwire.models import LanguageModel, Receiver
from latentwire.prompting.builder import PromptBuilder, examples_of
from latentwire.prompting.scoring import respond
from latentwire.wire.contract import Contract, HasContract
from latentwire.wire.header import read_header
from latentwire.wire.message import Message
from latentwire.wire.saving import load_contract, load_side
from latentwire.wire.spec import Answer


class Decoder(HasContract):
    """Receiving half of a wire: answers questions about texts from their messages.

    It needs neither the sender nor the weights of the bridge.

    Args:
        receiver: Receiving model.
        contract: Contract of the wire.
    Raises: UsageError: If the bridge writes something that the receiver does not read.
    """

    def __init__(self, receiver: Receiver, contract: Contract) -> None:
        if receiver.reads != contract.writes:
            raise UsageError(
                f"The {contract.spec.bridge} bridge writes {contract.writes}, this receiver reads "
                f"{receiver.reads}. Give Receiver(lm, reads='{contract.writes}')."
            )
        self.receiver, self.contract = receiver, contract

    @classmethod
    def from_pretrained(
        cls,
        run: str | Path,
        *,
        receiver: str | LanguageModel | None = None,
        device: str = "auto",
        dtype: str = "auto",
        progress: Progress | None = None,
    ) -> Decoder:
        """Load the receiver of a trained wire. Sender and bridge are not loaded.

        Args:
            run: Run folder, or the bridge folder inside it; its weights may be missing.
            receiver: Receiving model or its current location; the saved name by default.
            device: `auto`, `cpu`, `cuda`, `cuda:N` or `mps`.
            dtype: Dtype of the receiver: `auto`, `float32`, `bfloat16` or `float16`.
            progress: Reports the conversion of a model.
        Raises:
            BridgeError: If the folder is missing, foreign or damaged.
            PairMismatchError: If the bridge was trained for another receiver.
        """
        folder = Path(run)
        contract = load_contract(folder)
        lm = load_side(folder, "receiver", receiver, device=device, dtype=dtype, progress=progress)
        return cls(Receiver(lm, reads=contract.writes), contract)

    def answer(
        self,
        messages: Sequence[Message | bytes],
        questions: Sequence[str] | None = None,
        *,
        choices: Sequence[str] | Sequence[Sequence[str]] | None = None,
        max_new_tokens: int = 32,
        bridges: Collection[str] = (),
    ) -> list[Answer]:
        """Answer the task's question, or the given questions, from messages.

        The receiver scores `choices`, by default the task's labels. For tasks without choices it
        writes the answer.

        Args:
            messages: Messages of this wire's encoder, as objects or bytes. To answer from several
                messages at once, combine them with `Message.join`.
            questions: One question per message, for tasks whose items have one. Optional in the
                setting `blind`, where the sender reads the questions.
            choices: Choices of all messages, or one list of choices per message.
            max_new_tokens: Maximum length of a written answer in tokens. A lower limit of the task
                takes precedence.
            bridges: Fingerprints of other bridges for this receiver whose messages are accepted.
        Returns: One answer per message, in their order.
        Raises:
            MessageError: If a message is damaged, from another bridge or for another receiver, or
                messages differ in length.
            UsageError: If a question is missing, or the receiver reads the text in this setting.
        """
        task, soft, cut = self.need_task(), *self._unpack(messages, bridges)
        examples = self._examples(task, len(messages), questions, choices)
        builder = self.prompt_builder(task)
        responses = respond(
            self.receiver,
            task,
            [builder.build_handoff(example) for example in examples],
            soft,
            ranking_only=True,
            max_new_tokens=min(max_new_tokens, task.max_new_tokens or max_new_tokens),
        )
        answers = []
        for response, example, was_cut in zip(responses, examples, cut, strict=True):
            shares = torch.tensor(response.scores).softmax(-1).tolist()
            scores = dict(zip(example.choices, shares, strict=True))  # none for a written answer
            label = max(scores, key=scores.__getitem__) if response.text is None else response.text
            answers.append(Answer(label, scores, was_cut))
        return answers

    def receive(
        self,
        messages: Sequence[Message | bytes],
        questions: Sequence[str] | None = None,
        *,
        bridges: Collection[str] = (),
    ) -> list[Response]:
        """Return the scores of the task's labels, or the written answer, for each message.

        Args:
            messages: As in `answer`.
            questions: As in `answer`.
            bridges: As in `answer`.
        Raises: MessageError, UsageError: As `answer` does.
        """
        task, (soft, _) = self.need_task(), self._unpack(messages, bridges)
        examples = self._examples(task, len(messages), questions, None)
        return self.respond(task, examples, soft, ranking_only=True)

    def stream(self, message: Message | bytes, question: str | None = None) -> Iterator[str]:
        """Generate the answer to one message and yield it in pieces.

        Raises: MessageError, UsageError: As `answer` does; also if the task has choices.
        """
        task, (soft, _) = self.need_task(), self._unpack([message], ())
        if task.kind != "generation":
            raise UsageError(
                f"Task '{task.name}' has choices, so there is no text to stream: use `answer`."
            )
        examples = self._examples(task, 1, [question or ""], None)
        prompt = self.prompt_builder(task).build_handoff(examples[0])[0].prompt
        length = task.max_new_tokens
        return self.receiver.stream_text(prompt, soft, max_new_tokens=length, stop=task.stop)

    def respond(
        self,
        task: Task,
        examples: Sequence[Example],
        soft: Float[Tensor, "b k dr"],
        *,
        ranking_only: bool = False,
    ) -> list[Response]:
        """Return the receiver's response to each example, given its soft tokens.

        Args:
            task: Task of the examples.
            examples: Questions and choices; contexts are read in the setting `shared` only.
            soft: Soft tokens of each example.
            ranking_only: Only the best choice matters: see `Receiver.score_choices`.
        """
        builder = self.prompt_builder(task)
        requests = [builder.build_handoff(example) for example in examples]
        return respond(self.receiver, task, requests, soft, ranking_only=ranking_only)

    def read(self, data: bytes, *, bridges: Collection[str] = ()) -> Message:
        """Read a message from untrusted bytes, within `limits`.

        Args:
            data: Bytes of a message for this receiver.
            bridges: Fingerprints of other bridges for this receiver whose messages are accepted.
        Raises: MessageError: If the bytes are not a message for this wire; raised before tensors
            are created.
        """
        header, payload = read_header(data, self.limits)
        self._check(header.bridge, header.receiver, header.width, bridges)
        return Message.from_payload(header, payload, self.basis)

    def read_all(self, datas: Sequence[bytes], *, bridges: Collection[str] = ()) -> list[Message]:
        """Read several messages. Raises: MessageError: As `read` does."""
        return [self.read(data, bridges=bridges) for data in datas]

    def prompt_builder(self, task: Task) -> PromptBuilder:
        """Return the builder of the receiver's prompts around soft tokens."""
        spec = self.spec
        template = self.prompts.get(task.name) or self.prompts_for(task)[0]
        return PromptBuilder(task, self.receiver.lm, template, spec.max_tokens, spec.setting)

    def prompts_for(self, task: Task) -> tuple[str, ...]:
        """Return the prompts that training chooses from: the specified one, or the task's."""
        given = self.spec.prompt
        return (given,) if given else task.handoff_prompts(task.setting(self.spec.setting))

    def _examples(
        self,
        task: Task,
        n: int,
        questions: Sequence[str] | None,
        choices: Sequence[str] | Sequence[Sequence[str]] | None,
    ) -> list[Example]:
        """Build examples that have a message in place of the context."""
        setting = task.setting(self.spec.setting)
        if setting == "shared":
            raise UsageError(
                "In the setting 'shared' the receiver also reads the text: "
                "use wire.respond(task, examples, soft)."
            )
        lists: list[Sequence[str]] | None = None
        if choices is not None:
            shared = bool(choices) and isinstance(choices[0], str)
            lists = [choices] * n if shared else list(choices)  # type: ignore[list-item]
        return examples_of(task, [""] * n, questions, lists, need_questions=setting != "blind")

    def _unpack(
        self, messages: Sequence[Message | bytes], bridges: Collection[str]
    ) -> tuple[Float[Tensor, "b k dr"], list[bool | None]]:
        """Return soft tokens on the receiver's device, and whether the texts were truncated."""
        read = [self.read(m, bridges=bridges) if isinstance(m, bytes) else m for m in messages]
        for message in read:
            self._check(message.bridge, message.receiver, message.soft.shape[-1], bridges)
        if len(sizes := sorted({tuple(message.soft.shape) for message in read})) > 1:
            raise MessageError(
                f"Messages of one call must have the same shape; these have "
                f"{', '.join(map(str, sizes))}. Pass them in several calls."
            )
        rows = [message.soft for message in read] or [torch.zeros(0, self.contract.soft_width)]
        soft = torch.stack(rows)[: len(read)].to(self.receiver.lm.device)
        return soft, [message.truncated for message in read]

    def _check(self, bridge: str, receiver: str, width: int, bridges: Collection[str]) -> None:
        """Raise MessageError unless a message is for this receiver and from an accepted bridge."""
        contract = self.contract
        known = {contract.fingerprint, *bridges}
        if unknown := [name for name in bridge.split("+") if name not in known]:
            raise MessageError(
                f"The message is from bridge {unknown[0]}; this wire has bridge "
                f"{contract.fingerprint or 'unknown'}, so the receiver cannot read it. Load the "
                "same bridge on both sides, or list it in `bridges` if it was trained for this "
                "receiver."
            )
        if receiver and receiver.rpartition("@")[2] != contract.receiver.fingerprint:
            raise MessageError(
                f"The message is for the receiver {receiver}; this wire's is {contract.receiver}."
            )
        if width != contract.soft_width:
            raise MessageError(
                f"The message's soft tokens have width {width}; {contract.receiver} reads "
                f"{contract.soft_width}."
            )
