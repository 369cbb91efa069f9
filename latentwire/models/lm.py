"""A frozen causal language model with its tokenizer, used by Sender and Receiver."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from latentwire.core.errors import ModelError
from latentwire.models.architecture import Architecture, architecture_of

MESSAGE_MARK = "\ue000"
"""Private-use character that marks the position of the soft tokens in a rendered prompt."""


@dataclass(frozen=True)
class Prompt:
    """Token ids of one prompt, split at the position of the soft tokens.

    Args:
        before: Ids before the message, or all ids of a prompt without a message.
        after: Ids after the message; empty for a prompt without a message.
        n_static: Number of leading ids of `before` that are the same for every example of the
            template. Their keys and values are computed once.
        tail: Last characters of the prompt's text, the context in which answers are tokenized.
    """

    before: tuple[int, ...]
    after: tuple[int, ...] = ()
    n_static: int = 0
    tail: str = ""


class LanguageModel:
    """A frozen Hugging Face causal LM.

    Args:
        name: Name by which the model was requested; recorded in results.
        model: Any `AutoModelForCausalLM`; its parameters are frozen here.
        tokenizer: The model's fast tokenizer.
        chat: Whether to use the tokenizer's chat template, if it has one.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, *, chat: bool = True) -> None:
        self.name = name
        self._chat = chat
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._answers: dict[tuple[str, str], tuple[int, ...]] = {}
        self._handoffs: dict[tuple[str, str], Prompt] = {}

    @property
    def device(self) -> torch.device:
        """Device of the weights."""
        return self.embedding_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Dtype of the weights and of all hidden states."""
        return self.embedding_weight.dtype

    @cached_property
    def architecture(self) -> Architecture:
        """Parts of the model and rules of its family."""
        return architecture_of(self.model, self.name)

    @property
    def embedding_weight(self) -> torch.Tensor:
        """Input embedding matrix, (v, d). Some models scale it before the first layer."""
        return self.architecture.embeddings.weight  # type: ignore[no-any-return]

    @property
    def config(self) -> Any:
        """Configuration of the text model."""
        return self.architecture.config

    @property
    def width(self) -> int:
        """Size of a hidden state and of an input embedding."""
        return self.architecture.width

    @property
    def prefix_width(self) -> int:
        """Size of one position of a deep prefix: its keys and values in all layers, packed.

        Raises: ModelError: If a layer caches anything but keys and values.
        """
        return sum(heads * size for heads, size in self.architecture.cache_shapes)

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks."""
        return self.architecture.n_layers

    @property
    def max_tokens(self) -> int:
        """Longest sequence that the model was trained for, in tokens."""
        return self.architecture.max_tokens

    @property
    def window(self) -> int:
        """Number of tokens that every layer can attend to."""
        return min(self.max_tokens, self.architecture.sliding_window or self.max_tokens)

    @property
    def is_sharded(self) -> bool:
        """Whether the blocks are sharded over processes, see `shard_blocks`.

        All processes must then run each forward pass together.
        """
        return bool(getattr(self.model, "blocks_are_sharded", False))

    @property
    def is_chat(self) -> bool:
        """Whether prompts are rendered as user turns with the tokenizer's chat template."""
        return self._chat and getattr(self.tokenizer, "chat_template", None) is not None

    def without_chat(self) -> LanguageModel:
        """Return the same model, prompted in plain text."""
        return LanguageModel(self.name, self.model, self.tokenizer, chat=False)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a sequence, the tokenizer's end-of-sequence token first."""
        configured = getattr(self.model, "generation_config", None)
        ids = getattr(configured, "eos_token_id", None)
        more = ids if isinstance(ids, list) else [ids]
        ends = dict.fromkeys([self.tokenizer.eos_token_id, *more])
        return tuple(end for end in ends if end is not None)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that identify the weights and the size of the vocabulary.

        Computed from sixteen values of every parameter, rounded to bfloat16, so that a float32
        and a bfloat16 load of the same model have the same fingerprint.
        """
        digest = hashlib.sha256(str(len(self.tokenizer)).encode())
        for name, parameter in sorted(self.model.named_parameters()):
            flat = parameter.detach().reshape(-1)
            step = max(flat.numel() // 16, 1)
            values = flat[::step][:16].to("cpu", torch.bfloat16).view(torch.int16)
            digest.update(f"{name}{tuple(parameter.shape)}".encode())
            digest.update(values.numpy().tobytes())
        return digest.hexdigest()[:16]

    def embed(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of token ids, (.., d), at the scale of the first layer's input."""
        return self.architecture.embeddings(ids.to(self.device))  # type: ignore[no-any-return]

    @cached_property
    def embedding_rms(self) -> float:
        """Median over the vocabulary of the root mean square of a token's embedding."""
        n_rows = self.embedding_weight.shape[0]
        rows = self.embed(torch.arange(0, n_rows, max(n_rows // 4096, 1)))
        return float(rows.float().pow(2).mean(-1).sqrt().median())

    def token_ids(self, text: str, *, special: bool = False) -> list[int]:
        """Return the token ids of a text.

        Args:
            text: Any text.
            special: Whether to add special tokens as the tokenizer does by default. A BOS at the
                beginning of the text is not repeated.
        """
        bos = getattr(self.tokenizer, "bos_token", None)
        special = special and not (bos and text.startswith(bos))
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def truncate(self, text: str, max_tokens: int) -> tuple[str, bool]:
        """Cut a text after at most `max_tokens` tokens; also return whether it was cut."""
        encoded = self.tokenizer(
            text,
            add_special_tokens=False,
            truncation=True,
            max_length=max_tokens + 1,
            return_offsets_mapping=True,
        )
        offsets = encoded["offset_mapping"]
        if len(offsets) <= max_tokens:
            return text, False
        return text[: offsets[max_tokens - 1][1]].rstrip(), True

    def prompt(self, text: str, static: str = "") -> Prompt:
        """Tokenize a prompt; for a chat model, as a user turn.

        Args:
            text: Rendered prompt with at most one `MESSAGE_MARK`.
            static: Beginning of `text` that is the same for every example of the template.
        Raises: ModelError: If the chat template fails.
        """
        if MESSAGE_MARK not in text:
            return self._tokenize(text, static)
        # Most prompts of a task are equal apart from the message.
        key = (text, static)
        if key not in self._handoffs:
            if len(self._handoffs) > 4096:
                self._handoffs.clear()
            self._handoffs[key] = self._tokenize(text, static)
        return self._handoffs[key]

    def _tokenize(self, text: str, static: str) -> Prompt:
        wrapped = self.render_turn(text)
        # A chat template's text before the user's text is the same for every example too.
        start = wrapped.find(text) + len(static)
        special = not self.is_chat
        if MESSAGE_MARK in wrapped:
            head, _, rest = wrapped.partition(MESSAGE_MARK)
            head = head.rstrip(" ")  # tokenizers attach a space to the next word
            before = self.token_ids(head, special=special)
            n_static = len(before) if start >= len(head) else 0
            return Prompt(tuple(before), tuple(self._inner_ids(rest)), n_static, _tail(rest))
        ids = self.token_ids(wrapped, special=special)
        n_static = 0
        if start > 0:
            shared = self.token_ids(wrapped[:start], special=special)
            n_static = _n_common(shared, ids[:-1])
        return Prompt(tuple(ids), (), n_static, _tail(wrapped))

    def answer_ids(self, prompt: Prompt, answer: str) -> tuple[int, ...]:
        """Return the token ids of an answer that follows the prompt.

        A space separates them, unless the prompt is a chat turn.
        """
        key = (prompt.tail, answer)
        if key not in self._answers:
            if len(self._answers) > 4096:
                self._answers.clear()
            separator = "" if self.is_chat else " "
            together = self.token_ids(prompt.tail + separator + answer)
            alone = self.token_ids(prompt.tail)
            self._answers[key] = tuple(together[len(alone) :])
        return self._answers[key]

    def render_turn(self, text: str) -> str:
        """Render a text as a user turn up to the start of the reply.

        Without a chat template, the text is returned unchanged.

        Raises: ModelError: If the chat template fails.
        """
        if not self.is_chat:
            return text
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
                )
            )
        except Exception as error:  # templates are user-supplied Jinja code
            raise ModelError(f"The chat template of '{self.name}' failed: {error}") from error

    def _inner_ids(self, text: str) -> list[int]:
        """Return the token ids of a text inside a prompt.

        Without the space that some tokenizers add at the beginning of a text.
        """
        for anchor in ("=", "\n", "a"):
            start = self.token_ids(anchor)
            ids = self.token_ids(anchor + text)
            if ids[: len(start)] == start:
                return ids[len(start) :]
        return self.token_ids(text)


def _tail(text: str) -> str:
    return text[-32:]


def _n_common(a: list[int], b: list[int]) -> int:
    n = 0
    for x, y in zip(a, b):
        if x != y:
            break
        n += 1
    return n
