"""A frozen causal language model with its tokenizer: what Sender and Receiver stand on."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from latentwire.core.errors import ModelError

MESSAGE_MARK = "\ue000"
"""Private-use character that stands in a rendered prompt where the soft tokens go."""


@dataclass(frozen=True)
class Prompt:
    """Token ids of one prompt, cut where the soft tokens go.

    Args:
        before: Ids up to the message, or all ids of a prompt that is only text.
        after: Ids behind the message; empty for a prompt that is only text.
        n_static: How many leading ids of `before` are the same for every example of the
            template, so that their keys and values are computed once.
        tail: Last characters of the prompt's text: answers are tokenised behind them.
    """

    before: tuple[int, ...]
    after: tuple[int, ...] = ()
    n_static: int = 0
    tail: str = ""


class LanguageModel:
    """A frozen Hugging Face causal LM.

    Args:
        name: The name it was asked for; kept in results.
        model: Any `AutoModelForCausalLM`; its parameters are frozen here.
        tokenizer: Its fast tokenizer.
        chat: False leaves the tokenizer's chat template unused.
    """

    def __init__(self, name: str, model: Any, tokenizer: Any, *, chat: bool = True) -> None:
        self.name = name
        self._chat = chat
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self._answers: dict[tuple[str, str], tuple[int, ...]] = {}
        self._handed: dict[tuple[str, str], Prompt] = {}

    @property
    def device(self) -> torch.device:
        """Where the weights lie."""
        return self.embedding_weight.device

    @property
    def dtype(self) -> torch.dtype:
        """Type of the weights and of every state that leaves the model."""
        return self.embedding_weight.dtype

    @property
    def embedding_weight(self) -> torch.Tensor:
        """Rows of the input embedding, (v, d). Not what the layers see: some models scale it."""
        return self.model.get_input_embeddings().weight  # type: ignore[no-any-return]

    @cached_property
    def config(self) -> Any:
        """The configuration of the text part."""
        return self.model.config.get_text_config()

    @property
    def width(self) -> int:
        """Size of a hidden state and of an input embedding."""
        return int(self.config.hidden_size)

    @cached_property
    def cache_shapes(self) -> tuple[tuple[int, int], ...]:
        """(heads, size of a head) of each layer's keys and of its values, in turn.

        Found by reading one token: configurations say it in many ways.

        Raises: ModelError: If a layer keeps something else than keys and values.
        """
        with torch.no_grad():
            one = torch.zeros(1, 1, dtype=torch.long, device=self.device)
            out = self.model.base_model(input_ids=one, use_cache=True)
        layers = getattr(getattr(out, "past_key_values", None), "layers", ())
        kept = [getattr(layer, name, None) for layer in layers for name in ("keys", "values")]
        shapes = [
            (int(x.shape[1]), int(x.shape[3])) for x in kept if x is not None and x.dim() == 4
        ]
        mixed = any(hasattr(layer, "conv_states") for layer in layers)
        if not kept or len(shapes) < len(kept) or mixed:
            raise ModelError(
                f"Cannot find the keys and values of every layer of '{self.name}' "
                f"({type(self.model).__name__}): it takes no deep prefix. Use a bridge that writes "
                "embeddings, or a receiver whose layers all attend, such as a Llama-, Mistral-, "
                "Gemma- or Qwen-like one."
            )
        return tuple(shapes)

    @property
    def prefix_width(self) -> int:
        """Size of one position of a deep prefix: its keys and values in all layers, packed.

        Raises: ModelError: If a layer keeps something else than keys and values.
        """
        return sum(heads * size for heads, size in self.cache_shapes)

    @property
    def n_layers(self) -> int:
        """Number of transformer blocks."""
        return int(self.config.num_hidden_layers)

    @property
    def max_tokens(self) -> int:
        """Longest sequence the model was made for, in tokens."""
        return int(getattr(self.config, "max_position_embeddings", 0) or 2048)

    @property
    def window(self) -> int:
        """Tokens that every layer can look back on: the sliding window where there is one."""
        return min(self.max_tokens, self.sliding_window or self.max_tokens)

    @property
    def sliding_window(self) -> int | None:
        """Tokens that its sliding layers look back on; None if it has none."""
        sliding = getattr(self.config, "sliding_window", None)
        return int(sliding) if sliding else None

    @property
    def is_sharded(self) -> bool:
        """Whether each process holds a part of its blocks: see `shard_blocks`.

        All of them must then run it together, pass by pass.
        """
        return bool(getattr(self.model, "blocks_are_sharded", False))

    @property
    def is_chat(self) -> bool:
        """True if the tokenizer brings a chat template: prompts then become user turns."""
        return self._chat and getattr(self.tokenizer, "chat_template", None) is not None

    def without_chat(self) -> LanguageModel:
        """The same model, asked in plain text."""
        return LanguageModel(self.name, self.model, self.tokenizer, chat=False)

    @cached_property
    def end_ids(self) -> tuple[int, ...]:
        """Ids that end a sequence, the tokenizer's own first."""
        configured = getattr(self.model, "generation_config", None)
        ids = getattr(configured, "eos_token_id", None)
        more = ids if isinstance(ids, list) else [ids]
        ends = dict.fromkeys([self.tokenizer.eos_token_id, *more])
        return tuple(end for end in ends if end is not None)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits that name these weights and this tokenizer, whatever file they came from.

        Sixteen values of every parameter, rounded to bfloat16, so that a float32 and a bfloat16
        load of one model agree.
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
        """Outputs of the embedding module, (.., d): scaled as the layers expect them."""
        return self.model.get_input_embeddings()(ids.to(self.device))  # type: ignore[no-any-return]

    @cached_property
    def embedding_rms(self) -> float:
        """Median root mean square of the embedding outputs over the vocabulary."""
        n_rows = self.embedding_weight.shape[0]
        rows = self.embed(torch.arange(0, n_rows, max(n_rows // 4096, 1)))
        return float(rows.float().pow(2).mean(-1).sqrt().median())

    def token_ids(self, text: str, *, special: bool = False) -> list[int]:
        """Ids of `text`; `special` adds BOS where this tokenizer does so, unless it is there."""
        bos = getattr(self.tokenizer, "bos_token", None)
        special = special and not (bos and text.startswith(bos))
        return list(self.tokenizer(text, add_special_tokens=special)["input_ids"])

    def truncate(self, text: str, max_tokens: int) -> tuple[str, bool]:
        """The longest start of `text` with at most `max_tokens` tokens, and whether it was cut."""
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
        """Tokenise a prompt, as a user turn for chat models; `MESSAGE_MARK` marks the message.

        Args:
            text: The rendered prompt, with at most one `MESSAGE_MARK`.
            static: Start of `text` that every example of the template shares.
        Raises: ModelError: If the chat template refuses the prompt.
        """
        if MESSAGE_MARK not in text:
            return self._tokenised(text, static)
        # Around a message most prompts of a task are the same.
        key = (text, static)
        if key not in self._handed:
            if len(self._handed) > 4096:
                self._handed.clear()
            self._handed[key] = self._tokenised(text, static)
        return self._handed[key]

    def _tokenised(self, text: str, static: str) -> Prompt:
        wrapped = self.turn(text)
        # A chat template's own words before the user's text are the same for every example too.
        start = wrapped.find(text) + len(static)
        special = not self.is_chat
        if MESSAGE_MARK in wrapped:
            head, _, rest = wrapped.partition(MESSAGE_MARK)
            head = head.rstrip(" ")  # a space belongs to the word it stands before
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
        """Ids of an answer as they follow the prompt (a space first, unless it is a chat turn)."""
        key = (prompt.tail, answer)
        if key not in self._answers:
            if len(self._answers) > 4096:
                self._answers.clear()
            separator = "" if self.is_chat else " "
            together = self.token_ids(prompt.tail + separator + answer)
            alone = self.token_ids(prompt.tail)
            self._answers[key] = tuple(together[len(alone) :])
        return self._answers[key]

    def turn(self, text: str) -> str:
        """A text as a user turn with the start of the reply, for a chat model; else as it is.

        Raises: ModelError: If the chat template refuses the text.
        """
        if not self.is_chat:
            return text
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [{"role": "user", "content": text}], tokenize=False, add_generation_prompt=True
                )
            )
        except Exception as error:  # templates are user-supplied Jinja and may raise anything
            raise ModelError(f"The chat template of '{self.name}' failed: {error}") from error

    def _inner_ids(self, text: str) -> list[int]:
        """Ids of a text inside a prompt: without the space that some tokenizers put first."""
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
