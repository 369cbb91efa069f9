"""Workarounds for transformers: silence its output and read GGUF files faster."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import numpy as np


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
def fast_gguf_reading() -> Iterator[None]:
    """Speed up the GGUF reader of transformers inside the context; its results stay the same.

    Unpatched, it parses the whole file three times (tokenizer, configuration, weights), makes
    several numpy arrays per word of the vocabulary, and rebuilds the table of tensor names for
    every submodule.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reader

    originals = (gguf.GGUFReader, gguf.get_tensor_name_map, reader.tqdm, reader._gguf_parse_value)

    def parse_value(value: Any, types: Any) -> Any:
        return originals[3](value, types) if isinstance(value, np.ndarray) else value

    gguf.GGUFReader = cache(_fast_reader(gguf))
    gguf.get_tensor_name_map = cache(gguf.get_tensor_name_map)
    reader.tqdm = lambda tensors, **_: tensors
    reader._gguf_parse_value = parse_value
    try:
        with quiet_transformers():
            yield
    finally:
        gguf.GGUFReader, gguf.get_tensor_name_map, reader.tqdm, reader._gguf_parse_value = originals


def _fast_reader(gguf: Any) -> type:
    """Return a GGUFReader that keeps arrays of metadata as plain Python values."""

    class FastGGUFReader(gguf.GGUFReader):  # type: ignore[misc]
        data: Any

        def _get(self, *args: Any, **kwargs: Any) -> Any:
            if isinstance(self.data, np.memmap):
                self.data = self.data.view(np.ndarray)  # slices of a memmap are slow
            return super()._get(*args, **kwargs)

        def _get_field_parts(self, start: int, raw_type: int) -> Any:
            if raw_type != gguf.GGUFValueType.ARRAY or self.byte_order != "I":
                return super()._get_field_parts(start, raw_type)
            item_type, count = struct.unpack_from("<IQ", self.data, start)
            offset, dtype = start + 12, self.gguf_scalar_to_np.get(item_type)
            if dtype is not None:
                values = np.frombuffer(self.data, dtype, count, offset).tolist()
                offset += count * np.dtype(dtype).itemsize
            elif item_type == gguf.GGUFValueType.STRING:
                values, offset = _read_strings(self.data, offset, count)
            else:
                return super()._get_field_parts(start, raw_type)
            types = [gguf.GGUFValueType(each) for each in (raw_type, item_type)[: 1 + bool(count)]]
            return offset - start, values, list(range(count)), types

    return FastGGUFReader


def _read_strings(data: Any, offset: int, count: int) -> tuple[list[str], int]:
    """Return `count` length-prefixed strings from an array of bytes, and the offset after them."""
    strings = []
    for _ in range(count):
        (size,) = struct.unpack_from("<Q", data, offset)
        strings.append(data[offset + 8 : offset + 8 + size].tobytes().decode())
        offset += 8 + size
    return strings, offset
