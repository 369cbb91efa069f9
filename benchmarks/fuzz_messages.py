"""Fuzz the message reader with broken, mutated and hostile bytes.

    python benchmarks/fuzz_messages.py [--n 2000000] [--seed 0]

Each input must be read as a valid message or refused with a MessageError, without any other error,
without a hang and within the memory limits. Half of the mutated messages get a correct checksum, so
that they also reach the checks after it. Prints one JSON object. The first input that breaks a rule
is printed and ends the program with exit code 1.
"""

from __future__ import annotations

import argparse
import gc
import json
import random
import re
import resource
import signal
import struct
import sys
import time
import tracemalloc
import zlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from latentwire.core.errors import MessageError
from latentwire.wire.basis import Basis, fit_basis
from latentwire.wire.codecs import CODECS
from latentwire.wire.header import Header, Limits
from latentwire.wire.message import Message

LIMITS = Limits(max_bytes=1 << 16, max_tokens=64, max_width=4096)
SHAPES = ((1, 1), (2, 24), (3, 65), (4, 33))
_TRACED = 64  # memory is traced for one message in 64
_MOST_TRACED = 8 * LIMITS.max_bytes
_MOST_RESIDENT = 64 << 20  # bytes of growth over the whole run
_BATCH, _BATCH_SECONDS = 1000, 60
_PLAIN = re.compile(r"(?<!\S)[A-Za-z-]+(?:'s)?(?=[ ,.:]|$)")  # words that contain no value
_SUM = re.compile(rb'"checksum":"[0-9a-f]{8}"')

NUMBERS = (0, 1, 2, 7, 8, 255, 256, 4095, 4096, 65535, 1 << 20, 1 << 31, (1 << 32) - 1)
NUMBERS += (1 << 53, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
VALUES: tuple[Any, ...] = (
    *NUMBERS, -1, -(1 << 63), 10**400, 0.5, 8.0, 1e308, float("inf"), float("nan"), True, None,
    "", "0", "1", "2", "3", "-1", "08", "1e3", "8.0", " 8", "\u0663", "9" * 9, "9" * 400, "\ud800",
    "\u0000", "fp32", "bf16", "int4", "lowrank", "F64", "I64", "BOOL", "U8", [], {}, [[]], [-1, 0],
    [1 << 62, 1 << 62], [0, 1 << 60], {"dtype": "F32", "shape": [], "data_offsets": [0, 4]},
)  # fmt: skip
SPELLINGS = (
    (b":", b": "), (b",", b", "), (b"{", b"{ "), (b'"soft"', b'"s\\u006fft"'), (b" ", b""),
    (b"}}", b"}},"), (b"{", b'{"soft":0,'), (b"e", b"E"), (b'"', b"'"), (b"[", b"[0,"),
)  # fmt: skip


class Mutator:
    """Generator of broken messages, reproducible by seed.

    Args:
        seed: Random seed.
    """

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        generator = torch.Generator().manual_seed(seed)
        self.basis: Basis = fit_basis(torch.randn(9, 2, 24, generator=generator), 5)
        self.sound = [
            Message(
                torch.randn(shape, generator=generator),
                "0" * 16,
                codec,
                "a@1",
                "b@2",
                self.basis,
            ).to_bytes()
            for codec in CODECS.names()
            for shape in SHAPES
            if codec != "lowrank" or shape == (2, 24)
        ]
        self.ways: list[Callable[[bytes], bytes]] = [
            self.flip_bits, self.cut, self.grow, self.splice, self.length, self.overwrite,
            self.facts, self.facts, self.tensors, self.spelling, self.numbers, self.numbers,
            self.absurd, self.random_json, self.nested, self.noise,
        ]  # fmt: skip

    def next(self) -> bytes:
        """Return the next broken message."""
        draw = self.random
        data = draw.choice(self.ways)(draw.choice(self.sound))
        if draw.random() < 0.1:
            data = draw.choice(self.ways)(data)
        return resealed(data) if draw.random() < 0.5 else data

    def flip_bits(self, data: bytes) -> bytes:
        changed = bytearray(data)
        for _ in range(self.random.choice((1, 1, 2, 8)) if changed else 0):
            changed[self.random.randrange(len(changed))] ^= 1 << self.random.randrange(8)
        return bytes(changed)

    def cut(self, data: bytes) -> bytes:
        return data[: self.random.randint(0, len(data))]

    def grow(self, data: bytes) -> bytes:
        return data + self.random.randbytes(self.random.choice((1, 2, 8, 400)))

    def splice(self, data: bytes) -> bytes:
        other = self.random.choice(self.sound)
        return (
            data[: self.random.randint(0, len(data))] + other[self.random.randrange(len(other)) :]
        )

    def length(self, data: bytes) -> bytes:
        right = len(data) - 8
        near = right + self.random.randint(-9, 9)
        return struct.pack("<Q", self.random.choice((*NUMBERS, max(near, 0)))) + data[8:]

    def overwrite(self, data: bytes) -> bytes:
        at = self.random.randint(0, len(data))
        return data[:at] + struct.pack("<Q", self.random.choice(NUMBERS)) + data[at + 8 :]

    def facts(self, data: bytes) -> bytes:
        def change(header: dict[str, Any]) -> None:
            facts = header["__metadata__"]
            key = self.random.choice([*facts, "rank", "basis", "extra"])
            if self.random.random() < 0.2:
                facts.pop(key, None)
            else:
                value = self.random.choice(VALUES)
                facts[key] = value if self.random.random() < 0.5 else str(value)

        return self._edited(data, change)

    def tensors(self, data: bytes) -> bytes:
        def change(header: dict[str, Any]) -> None:
            part = header[self.random.choice([name for name in header if name != "__metadata__"])]
            key = self.random.choice(("dtype", "shape", "data_offsets"))
            kind = self.random.randrange(4)
            if kind == 0:
                part[key] = self.random.choice(VALUES)
            elif kind == 1 and key != "dtype":
                part[key][self.random.randrange(2)] = self.random.choice(VALUES)
            elif kind == 2:
                header[self.random.choice(("more", "", "soft", "scale", "\u00e9"))] = dict(part)
            else:
                header.pop(self.random.choice([*header]))

        return self._edited(data, change)

    def spelling(self, data: bytes) -> bytes:
        head, payload = _split(data)
        old, new = self.random.choice(SPELLINGS)
        return _joined(head.replace(old, new, self.random.choice((1, 1, 99))), payload)

    def numbers(self, data: bytes) -> bytes:
        head, payload = _split(data)
        changed = bytearray(payload)
        special = (b"\x00\x00", b"\x80\x7f", b"\xc0\x7f", b"\x80\xff", b"\x7f\x7f", b"\x00\x7c")
        for _ in range(self.random.choice((1, 2, 9)) if len(changed) > 1 else 0):
            at = self.random.randrange(len(changed) - 1)
            what = self.random.choice((*special, self.random.randbytes(2)))
            changed[at : at + 2] = what
        return resealed(_joined(head, bytes(changed)))

    def absurd(self, data: bytes) -> bytes:
        codec = self.random.choice(CODECS.names())
        k, width, rank = (self.random.choice(NUMBERS[1:]) for _ in range(3))
        rank = rank if codec == "lowrank" else 0
        head = Header("0" * 16, "a@1", "b@2", codec, k, width, rank, self.basis.fingerprint)
        return head.seal(self.random.randbytes(self.random.choice((0, 8, 4096))))

    def random_json(self, data: bytes) -> bytes:
        head = {"__metadata__": self._value(3), "soft": self._value(3), "x": self._value(2)}
        whole = head if self.random.random() < 0.7 else self._value(4)
        escaped = self.random.random() < 0.5
        text = json.dumps(whole, ensure_ascii=escaped).encode("utf-8", "surrogatepass")
        return _joined(text, data[-64:])

    def nested(self, data: bytes) -> bytes:
        n = self.random.choice((10, 900, 1100, 2000, 4000, 4080, 20000))
        opened = self.random.choice((b"[", b'{"a":', b"9", b'"', b"\\", b"-", b"1e", b"\xc3", b"{"))
        text = opened * (n // len(opened))
        if self.random.random() < 0.5:
            text = b'{"__metadata__":{"latentwire":' + text
        return _joined(text, data[-8:])

    def noise(self, data: bytes) -> bytes:
        noise = self.random.randbytes(self.random.randint(0, 300))
        return noise if self.random.random() < 0.5 else _joined(noise, b"")

    def _edited(self, data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
        head, payload = _split(data)
        try:
            header = json.loads(head)
            change(header)
        except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError):
            return self.flip_bits(data)  # broken by an earlier mutation
        text = json.dumps(header, separators=(",", ":")).encode()
        return _joined(text + b" " * (-len(text) % 8), payload)

    def _value(self, depth: int) -> Any:
        kind = self.random.randrange(6) if depth else 0
        if kind < 3:
            return self.random.choice(VALUES)
        size = self.random.randrange(4)
        if kind == 3:
            return [self._value(depth - 1) for _ in range(size)]
        keys = ("latentwire", "bridge", "codec", "n_tokens", "dtype", "shape", "\u00e9", "")
        return {self.random.choice(keys): self._value(depth - 1) for _ in range(size)}


def _split(data: bytes) -> tuple[bytes, bytes]:
    length = min(struct.unpack_from("<Q", data.ljust(8, b"\0"))[0], len(data))
    return data[8 : 8 + length], data[8 + length :]


def _joined(head: bytes, payload: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head + payload


def resealed(data: bytes) -> bytes:
    """Return the bytes with a correct checksum, if the header has one."""
    head, payload = _split(data)
    empty = _SUM.sub(b'"checksum":"00000000"', head, count=1)
    found = zlib.crc32(payload, zlib.crc32(data[:8] + empty))
    return data[:8] + _SUM.sub(b'"checksum":"%08x"' % found, head, count=1) + payload


def outcome(data: bytes, basis: Basis) -> str:
    """Return `read`, or the first words of the reader's error message.

    Raises: AssertionError: If the reader returned an invalid message.
    """
    try:
        message = Message.from_bytes(data, basis=basis, limits=LIMITS)
    except MessageError as error:
        str(error).encode()  # error messages must be printable for all inputs
        return " ".join(_PLAIN.findall(str(error))[:5])
    soft = message.soft
    k, width = soft.shape
    assert soft.dtype == torch.float32 and bool(np.isfinite(soft.numpy()).all()), "invalid numbers"
    assert 0 < k <= LIMITS.max_tokens and 0 < width <= LIMITS.max_width, "invalid shape"
    return "read"


def fuzz(n: int, seed: int) -> dict[str, Any]:
    """Read n broken messages.

    Args:
        n: Number of messages.
        seed: Random seed of the messages.
    Returns: Counts of outcomes, the slowest read in CPU time, and the peak memory.
    Raises: SystemExit: If a message breaks a rule, after printing it.
    """
    mutator, found = Mutator(seed), Counter[str]()
    for data in mutator.sound:
        assert outcome(data, mutator.basis) == "read"
    gc.freeze()  # a collection of the libraries' objects would count as a slow message
    began, resident = time.process_time(), _resident()
    slowest = most = 0.0
    previous = signal.signal(signal.SIGALRM, _hung)
    data = b""
    try:
        for i in range(n):
            if i % _BATCH == 0:
                signal.alarm(_BATCH_SECONDS)
            data = mutator.next()
            if traced := i % _TRACED == 0:
                tracemalloc.start()
            start = time.process_time()
            found[outcome(data, mutator.basis)] += 1
            if not traced:
                slowest = max(slowest, time.process_time() - start)
            else:
                most = max(most, tracemalloc.get_traced_memory()[1])
                tracemalloc.stop()
                assert most <= _MOST_TRACED, f"{most:,} bytes were allocated"
        grown = _resident() - resident
        assert grown <= _MOST_RESIDENT, f"the process grew by {grown:,} bytes"
    except Exception as error:
        print(f"{type(error).__name__}: {error}\n{data.hex()}", file=sys.stderr)
        raise SystemExit(1) from error
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    seconds = time.process_time() - began
    return {
        "n": n,
        "seed": seed,
        "read": found.pop("read", 0),
        "refused": sum(found.values()),
        "refused_by_first_words": dict(found.most_common()),
        "messages_per_cpu_s": round(n / seconds) if seconds else None,
        "slowest_cpu_ms": 1000 * slowest,
        "most_traced_bytes": most,
        "limit_bytes": LIMITS.max_bytes,
        "resident_growth_bytes": grown,
    }


def _resident() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _hung(*_: object) -> None:
    raise TimeoutError(f"{_BATCH} messages took more than {_BATCH_SECONDS} s")


def main() -> None:
    """Fuzz and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2_000_000, help="number of messages")
    parser.add_argument("--seed", type=int, default=0, help="random seed of the messages")
    args = parser.parse_args()
    print(json.dumps(fuzz(args.n, args.seed), indent=2))


if __name__ == "__main__":
    main()
