"""How much each sender layer has to carry: a linear probe on the mean state, layer by layer.

    python benchmarks/probe_layers.py --task sst2 [--train-limit 2000] [--layers 3,6,9,12]

Logistic regression on standardised mean states of the training sample, judged on a val sample; C is
the best of four on val. One sender pass gives all layers. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from latentwire import load_task
from latentwire.asking import sender_texts, take
from latentwire.bridge.pooling import masked_mean
from latentwire.data import Example
from latentwire.models import Sender, load_model
from latentwire.progress import default_progress
from latentwire.run_folder import describe_environment

STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--task", required=True)
    parser.add_argument("--sender", default="smollm2-135m-instruct")
    parser.add_argument("--sender-prompt", default="raw")
    parser.add_argument("--layers", help="e.g. 3,6,9; default: every tenth of the depth")
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--train-limit", type=int, default=2000)
    parser.add_argument("--val-limit", type=int, default=1000)
    given = parser.parse_args()

    sender, task = Sender(load_model(given.sender)), load_task(given.task)
    depth = sender.lm.n_layers
    layers = (
        [int(each) for each in given.layers.split(",")]
        if given.layers
        else sorted({max(1, round(depth * tenth / 10)) for tenth in range(1, 11)})
    )

    def states(examples: list[Example]) -> torch.Tensor:
        """Mean states, (n, l, ds); states of whole texts never stay in memory."""
        texts, _ = sender_texts(task, sender.lm, examples, given.sender_prompt, given.max_tokens)
        found = torch.empty(len(texts), len(layers), sender.lm.width)
        with default_progress().task("sender states", len(texts)) as bar:
            for index, batch in sender.encode_batches(texts, layers):
                found[index] = masked_mean(batch.states.float(), batch.mask)
                bar.advance(len(index))
        return found

    train = take(task, "train", given.train_limit, 0)
    val = take(task, "val", given.val_limit, 0)
    x, x_val = states(train), states(val)
    y, y_val = [e.target for e in train], [e.target for e in val]
    accuracy: dict[int, dict[str, float]] = {}
    for place, layer in enumerate(layers):
        scores = {}
        for strength in STRENGTHS:
            model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=3000))
            model.fit(x[:, place].numpy(), y)
            scores[strength] = model.score(x_val[:, place].numpy(), y_val)
        best = max(scores, key=scores.__getitem__)
        accuracy[layer] = {"val_accuracy": scores[best], "C": best}
    found = {
        "task": task.name,
        "settings": vars(given),
        "n": {"train": len(train), "val": len(val)},
        "by_layer": accuracy,
        "environment": describe_environment(),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
