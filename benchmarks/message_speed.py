"""Measure the time to write and read a message, for each codec.

    python benchmarks/message_speed.py [--tokens 8] [--width 640] [--rounds 2000]

Codecs are interleaved in every round, so that a slowdown of the machine affects all of them.
Encoding is `Message.to_bytes`, decoding is `Message.from_bytes` with all its checks, on one thread.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time

import torch

from latentwire.core.provenance import describe_environment
from latentwire.wire.basis import fit_basis
from latentwire.wire.codecs import CODECS
from latentwire.wire.message import Message

RANK = 128
WARM_UP = 50


def measure(n_tokens: int, width: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return the message size and times of each codec.

    Args:
        n_tokens: Number of soft tokens per message.
        width: Size of a soft token.
        rounds: Number of timed rounds.
    Returns: For each codec its bytes, and medians and the 95th percentile in milliseconds.
    """
    generator = torch.Generator().manual_seed(0)
    soft = torch.randn(64, n_tokens, width, generator=generator)
    basis = fit_basis(soft, min(RANK, width))
    names = "smollm2-135m-instruct@" + "0" * 16, "gemma3-270m@" + "0" * 16
    messages = {
        name: [Message(each, "0" * 16, name, *names, basis) for each in soft]
        for name in CODECS.names()
    }
    taken: dict[str, tuple[list[float], list[float]]] = {name: ([], []) for name in CODECS.names()}
    n_bytes = {}
    for turn in range(rounds + WARM_UP):
        for name, made in messages.items():
            message = made[turn % len(made)]
            began = time.perf_counter()
            data = message.to_bytes()
            written = time.perf_counter()
            Message.from_bytes(data, basis=basis)
            read = time.perf_counter()
            n_bytes[name] = len(data)
            if turn >= WARM_UP:
                taken[name][0].append(1000 * (written - began))
                taken[name][1].append(1000 * (read - written))
    return {
        name: {
            "bytes": n_bytes[name],
            "encode_ms": statistics.median(encode),
            "decode_ms": statistics.median(decode),
            "both_ms": statistics.median(map(sum, zip(encode, decode))),
            "both_ms_p95": sorted(map(sum, zip(encode, decode)))[int(0.95 * len(encode))],
        }
        for name, (encode, decode) in taken.items()
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=8, help="number of soft tokens per message")
    parser.add_argument("--width", type=int, default=640, help="size of a soft token")
    parser.add_argument("--rounds", type=int, default=2000)
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {
        "tokens": args.tokens,
        "width": args.width,
        "rounds": args.rounds,
        "rank": min(RANK, args.width),
        "codecs": measure(args.tokens, args.width, args.rounds),
        "environment": describe_environment(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
