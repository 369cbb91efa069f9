"""Keep transformers' own bars and warnings off the screen while it loads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """No bars and only errors from transformers inside the block; its settings come back after."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


@contextmanager
def gguf_read_once() -> Iterator[None]:
    """Let transformers parse a GGUF file once inside the block, and without a bar.

    It parses the whole file for the tokenizer, for the configuration and for the weights; a
    vocabulary of 262,144 words takes ten seconds each time.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reader

    bar, parser = reader.tqdm, gguf.GGUFReader
    reader.tqdm = lambda tensors, **_: tensors
    gguf.GGUFReader = cache(parser)
    try:
        with quiet_transformers():
            yield
    finally:
        reader.tqdm, gguf.GGUFReader = bar, parser
