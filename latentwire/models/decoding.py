"""A written answer piece by piece, each as soon as nothing that follows can change it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from jaxtyping import Float
from torch import Tensor

from latentwire.models.lm import Prompt
from latentwire.models.receiver import Receiver, cut_at_stop

_BROKEN = "\ufffd"  # what a tokenizer shows of a character whose bytes are not all there


def stream_text(
    receiver: Receiver,
    prompt: Prompt,
    soft: Float[Tensor, "1 k dr"] | None = None,
    *,
    max_new_tokens: int = 64,
    stop: Sequence[str] = (),
) -> Iterator[str]:
    """What `Receiver.write` writes behind one prompt; the pieces joined are that text.

    Args:
        receiver: The writing model.
        prompt: What it reads.
        soft: Soft tokens at the prompt's mark, or None.
        max_new_tokens: Longest text.
        stop: The text ends behind the first of these that follows some text.
    Yields: Pieces, none of them empty.
    """
    ids: list[int] = []
    shown = ""
    for (token,) in receiver.stream([prompt], soft, max_new_tokens=max_new_tokens, stop=stop):
        if token is None:
            break
        ids.append(token)
        settled = _settled(receiver.decode(ids), stop)
        if len(settled) > len(shown) and settled.startswith(shown):
            yield settled[len(shown) :]
            shown = settled
    text = receiver.decode(ids)
    cut = cut_at_stop(text, stop)
    if rest := (text if cut is None else cut).strip()[len(shown) :]:
        yield rest


def _settled(text: str, stop: Sequence[str]) -> str:
    """The start of a text that stays as it is whatever follows."""
    cut = cut_at_stop(text, stop)
    if cut is not None:
        return cut.strip()
    held = max(
        (n for mark in stop for n in range(1, len(mark)) if text.endswith(mark[:n])), default=0
    )
    return text[: len(text) - held].rstrip(_BROKEN).strip()
