"""Measure the val accuracy of linear probes on the mean state of several sender layers.

    python benchmarks/probe_layers.py --tasks sst2,tweet_sentiment [--layers 6,9,12,15,18]
        [--train-limit 3000] [--sender smollm2-135m-instruct]

The sender runs once for all layers. Each value is the best val accuracy over several values of C,
so it is slightly optimistic, for all layers alike. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from latentwire import Task, load_task
from latentwire.bridge.pooling import masked_mean
from latentwire.core.provenance import describe_environment
from latentwire.data import Example
from latentwire.models import Sender
from latentwire.models.loading import load_model
from latentwire.prompting.builder import sender_texts

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1)
_BATCH = 32


def main() -> None:
    """Encode, fit and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", default="bbc_news,tweet_sentiment,sst2,ag_news")
    parser.add_argument("--layers", default="6,9,12,15,18")
    parser.add_argument("--train-limit", type=int, default=3000)
    parser.add_argument("--sender", default="smollm2-135m-instruct")
    given = parser.parse_args()
    sender = Sender(load_model(given.sender))
    layers = sender.check_layers([int(each) for each in given.layers.split(",")])
    rows = {}
    for name in given.tasks.split(","):
        task = load_task(name)
        train, val = task.sample("train", given.train_limit, 0), list(task.split("val"))
        x, x_val = (_mean_states(sender, task, part, layers) for part in (train, val))
        y, y_val = ([each.target for each in part] for part in (train, val))
        accuracy = {
            layer: max(_accuracy(x[:, i], y, x_val[:, i], y_val, c) for c in _STRENGTHS)
            for i, layer in enumerate(layers)
        }
        rows[name] = {"n_train": len(train), "n_val": len(val), "val_accuracy": accuracy}
        print(f"{name}: {accuracy}", file=sys.stderr)
    print(json.dumps({"rows": rows, "environment": describe_environment()}, indent=2))


@torch.inference_mode()
def _mean_states(
    sender: Sender, task: Task, examples: Sequence[Example], layers: tuple[int, ...]
) -> np.ndarray:
    """Return the mean state of every layer, (n, l, ds)."""
    texts, _ = sender_texts(task, sender.lm, list(examples), "raw", None, None)
    by_length = sorted(range(len(texts)), key=lambda index: len(texts[index]))
    found: list[np.ndarray] = [np.empty(0)] * len(texts)
    for start in range(0, len(by_length), _BATCH):
        part = by_length[start : start + _BATCH]
        states = sender.encode([texts[index] for index in part], layers)
        for index, row in zip(part, masked_mean(states.states.float(), states.mask)):
            found[index] = row.cpu().numpy()
    return np.stack(found)


def _accuracy(x: np.ndarray, y: list, x_val: np.ndarray, y_val: list, strength: float) -> float:
    model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=2000))
    return float(model.fit(x, y).score(x_val, y_val))


if __name__ == "__main__":
    main()
