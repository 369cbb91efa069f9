"""Workarounds for transformers: silence its output, and read GGUF files faster."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Hide progress bars and warnings of transformers inside the context."""
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
    """Make transformers parse a GGUF file once inside the context, without a progress bar.

    By itself, it parses the whole file for the tokenizer, again for the configuration and again
    for the weights, each time ten seconds for a vocabulary of 262,144 words.
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
