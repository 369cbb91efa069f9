"""A trained wire whose messages are written in another way: nothing is trained again."""

from __future__ import annotations

from latentwire.core.progress import Progress
from latentwire.eval.context import Context, no_bridge
from latentwire.models import LanguageModel
from latentwire.wire.wire import Wire

_MOST = 512  # texts that a basis is fitted to
_BATCH = 32


def encoded(
    wire: Wire | tuple[LanguageModel, LanguageModel], codec: str | None
) -> Wire | tuple[LanguageModel, LanguageModel]:
    """What is evaluated, with its messages in a codec; as it is if none is named.

    Raises: UsageError: If there is no wire, or no such codec.
    """
    if codec is None:
        return wire
    if not isinstance(wire, Wire):
        raise no_bridge("A codec")
    return wire.with_codec(codec)


def give_basis(context: Context, progress: Progress, rank: int | None = None) -> None:
    """Fit the basis that the wire's codec needs, on training texts, unless it has one.

    Args:
        context: Of the wire.
        progress: Told of each batch.
        rank: Of the basis; `Wire.fit_lowrank` says what it is by default.
    """
    wire = context.wire
    if wire is None or not wire.lacks_basis:
        return
    training, cache = context.training, context.cache
    n = min(_MOST, training.train_limit or _MOST)
    texts = context.sender_texts(context.task.sample("train", n, training.seed))
    cache.ensure(texts, progress=progress)
    starts = range(0, len(texts), _BATCH)
    wire.fit_lowrank((cache.states(texts[start : start + _BATCH]) for start in starts), rank)
