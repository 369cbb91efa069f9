"""Compare the decoding speed of text relays with `generate` of transformers.

    python benchmarks/relay_decoding.py [--batch-sizes 1,16] [--tokens 32] [--rounds 6]

Both decode the same number of tokens greedily with a KV cache, with the same model and prompts.
Rounds alternate, and the time for the prompt is subtracted. Prints one JSON object with
milliseconds per token.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from latentwire.core.provenance import describe_environment
from latentwire.models import LanguageModel, Prompt, Receiver, load_model


def ours(lm: LanguageModel, ids: list[int], batch_size: int, n: int) -> None:
    """Decode as text relays do."""
    prompts = [Prompt(tuple(ids))] * batch_size
    for _ in Receiver(lm).stream(prompts, max_new_tokens=n, min_new_tokens=n):
        pass


@torch.inference_mode()
def theirs(lm: LanguageModel, ids: list[int], batch_size: int, n: int) -> None:
    """Decode with transformers."""
    tokens = torch.tensor([ids] * batch_size)
    lm.model.generate(
        tokens,
        attention_mask=torch.ones_like(tokens),
        do_sample=False,
        min_new_tokens=n,
        max_new_tokens=n,
        pad_token_id=lm.tokenizer.pad_token_id,
    )


def main() -> None:
    """Time both in alternating rounds and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="smollm2-135m-instruct")
    parser.add_argument("--batch-sizes", default="1,16")
    parser.add_argument("--prompt-tokens", type=int, default=80)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=6)
    given = parser.parse_args()
    lm = load_model(given.model)
    ids = lm.tokenizer("Shares fell as oil prices rose. " * given.prompt_tokens)["input_ids"]
    ids = ids[: given.prompt_tokens]

    def per_token(decode: Callable[..., None], batch_size: int) -> float:
        seconds = []
        for n in (1, given.tokens):
            started = time.perf_counter()
            decode(lm, ids, batch_size, n)
            seconds.append(time.perf_counter() - started)
        return 1000 * (seconds[1] - seconds[0]) / (given.tokens - 1)

    found = {}
    for batch_size in map(int, given.batch_sizes.split(",")):
        rounds = [
            (per_token(ours, batch_size), per_token(theirs, batch_size))
            for _ in range(given.rounds + 1)
        ][1:]  # without the warm-up round
        found[batch_size] = {
            "ours_ms": statistics.median(a for a, _ in rounds),
            "transformers_ms": statistics.median(b for _, b in rounds),
            "ours_over_transformers": statistics.median(a / b for a, b in rounds),
        }
    print(json.dumps({"batches": found, "environment": describe_environment()}, indent=2))


if __name__ == "__main__":
    main()
