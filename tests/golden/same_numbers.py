"""Check that a change of the code leaves every number as it was.

    python tests/golden/same_numbers.py record RECORDING
    python tests/golden/same_numbers.py compare RECORDING [--tolerance 1e-4] [--parts runs,messages]
    python tests/golden/same_numbers.py record-demo runs/demo RECORDING/demo.json
    python tests/golden/same_numbers.py compare-demo runs/demo RECORDING/demo.json

`record` trains and evaluates the tiny `fake` pair on the tasks in `recording/data` and stores the
results. `compare` does the same with the code that is imported now, prints one line per part, and
exits with 1 if a part differs. The script uses only the public interface and the command line,
so it runs before and after a refactoring. Select the code with PYTHONPATH.

`tests/golden/recording` keeps the part `runs` of commit 1d11959, before the packages were moved:
run folders that a later version has to load. Record the other parts with a checkout of the commit
to compare with.

Parts:

- `training`: weights and losses of several bridges and objectives after a few steps.
- `runs`: answers of the recorded run folders, which an earlier version of the code wrote.
- `messages`: bytes and soft tokens of messages in each codec, and messages that an earlier version
  wrote, read now.
- `kinds`: answers of bridge folders of each kind with default options, where the folder stores no
  options at all.
- `methods`: predictions, choices and statistics of each method on a classification task and on a
  generation task, with two seeds.

All work runs on one CPU thread, so the load of the machine does not matter. Another CPU or version
of PyTorch rounds differently: `compare` then says so, and `--tolerance` allows for it. A tolerance
above zero ignores checksums.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import traceback
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ENVIRONMENT = {
    "CUDA_VISIBLE_DEVICES": "",
    "HF_HUB_OFFLINE": "1",
    "MKL_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "PYTHONHASHSEED": "0",
}
os.environ.update(ENVIRONMENT)  # before torch is imported, which reads them once

import numpy as np  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

import latentwire  # noqa: E402
from latentwire import Task, TrainConfig, Wire, load_task, train_bridge  # noqa: E402

HERE = Path(__file__).resolve().parent

CODEC_FLAG = "--codec" if hasattr(Wire, "with_codec") else "--encoding"
TEXTS = (
    "storm and rain",
    "much desert, some sunshine",
    "we saw flood and then puddle",
    "a picture of drought with heat",
    "sand",
    "rain before dust",
    "The monsoon came late this year, and the fields were dry for weeks; then it rained all night.",
    "été à la plage ☀",
    "  two  spaces\nand a new line ",
    "0123456789 !?",
)
STORIES = (
    ("Anna has a red ball. Ben has a blue hat.", "What does Anna have?"),
    ("Cleo has an old lamp. Eva has a green coin.", "What does Eva have?"),
)
ENCODINGS = ("fp32", "fp16", "bf16", "int8", "int4", "lowrank")
RANK = 6

SMALL = {"width": 16, "heads": 2}
RUNS: dict[str, tuple[str, str, dict[str, int]]] = {
    "perceiver": ("weather", "perceiver", SMALL),
    "moe": ("weather", "moe", SMALL),
    "deep_prefix": ("weather", "deep_prefix", {**SMALL, "rank": 8}),
    "written": ("stories", "perceiver", SMALL),
}
"""Task, kind and options of each run folder that is part of the recording."""

RUN_TRAINING = {"steps": 20, "batch_size": 4, "warmup_steps": 4, "eval_every": 5}
SHORT_TRAINING = {"steps": 3, "batch_size": 4, "warmup_steps": 1, "eval_every": 3, "val_limit": 8}

KINDS = (
    *("linear", "mlp", "mean_pool", "perceiver", "perceiver_cot", "moe", "mixture_of_depths"),
    *("successive_refinement", "flow_matching", "diffusion", "optimal_transport", "thalamic"),
    *("multi_layer", "deep_prefix", "vocab", "ridge", "identity"),
)
VARIANTS: dict[str, dict[str, Any]] = {
    "kd": {"loss": "answer+0.5*kd(temperature=2)"},
    "kd_sender": {"loss": "answer+0.5*kd_sender"},
    "infonce": {"loss": "answer+0.1*infonce"},
    "mine": {"loss": "answer+0.1*mine"},
    "domain": {"loss": "answer+0.1*domain"},
    "vib": {"loss": "answer+0.01*vib"},
    "diversity": {"loss": "answer+0.1*diversity"},
    "moments": {"loss": "answer+0.1*norm+0.1*moments"},
    "reconstruction": {"loss": "reconstruction"},
    "fresh": {"init": "fresh", "ema": 0, "grad_accum": 2, "seed": 3},
    "recompute": {"recompute": True, "weight_decay": 0.1},
}
"""Settings of further trainings of a small perceiver."""

METHOD_FLAGS = (
    "--seeds 0,1 --soft-tokens 4 --layer 2 --steps 6 --batch-size 4 --eval-every 3 --val-limit 8 "
    "--prompt-val-limit 8 --shots 2 --relay-tokens 6"
).split()
PAIR_FLAGS = "--pair fake --device cpu".split()

WORDING = {"about", "notes", "asked", "encoding", "sentence", "claim", "title"}
"""Keys whose text may be worded differently."""

VOLATILE = {"environment", "run", "seconds", "train_s", "elapsed_s", "peak_mb"}
"""Keys of results that say when and where they were made."""


class Workshop:
    """Folders and shared helpers of one recording or comparison.

    Args:
        recording: Folder with `data/` and, after the part `training`, `runs/`.
        scratch: Temporary folder.
    """

    def __init__(self, recording: Path, scratch: Path) -> None:
        self.recording, self.scratch = recording, scratch

    def task_file(self, name: str) -> Path:
        """YAML file of a task."""
        return self.recording / "data" / f"{name}.yaml"

    def task(self, name: str) -> Task:
        """A task of the recording."""
        return load_task(self.task_file(name))

    def run(self, name: str) -> Path:
        """A copy of a recorded run folder, so that nothing writes to the recording."""
        copy = self.scratch / "recorded" / name
        if not copy.is_dir():
            shutil.copytree(self.recording / "runs" / name, copy)
        return copy

    def train(
        self, name: str, task: str, kind: str, options: dict[str, int], **settings: Any
    ) -> tuple[Wire, Path]:
        """Train a bridge in a new folder; returns the wire and the folder."""
        folder = self.scratch / "trained" / name
        seed = settings.get("seed", 0)
        layer = (1, 2) if kind == "multi_layer" else 2
        wire = Wire.build(
            pair="fake", bridge=kind, soft_tokens=4, layer=layer, seed=seed, device="cpu", **options
        )
        train_bridge(wire, self.task(task), folder, config=TrainConfig(**settings))
        return wire, folder

    def latentwire(self, *arguments: str | Path) -> dict[str, Any]:
        """What a command prints with `--json`."""
        source = Path(latentwire.__file__).resolve().parents[1]
        done = subprocess.run(
            [sys.executable, "-m", "telepathy.cli", *map(str, arguments), "--json"],
            env={**os.environ, "PYTHONPATH": str(source)},
            cwd=source,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"latentwire {arguments[0]} failed:\n{done.stderr[-3000:]}")
        return dict(json.loads(done.stdout))


# -- parts ----------------------------------------------------------------------------------------


def make_training(shop: Workshop) -> dict[str, Any]:
    """Train every recorded run, variant and kind.

    `tensors` of the runs are compared value by value. Variants and kinds have many more weights:
    their losses, gradient norms and answers are compared, and a checksum of the weights.
    """
    found: dict[str, Any] = {"runs": {}, "variants": {}, "kinds": {}, "tensors": {}}
    for name, (task, kind, options) in RUNS.items():
        _, folder = shop.train(f"run-{name}", task, kind, options, **RUN_TRAINING)
        found["runs"][name] = {"metrics": read_lines(folder / "metrics.jsonl")}
        weights = load_file(folder / "bridge" / "model.safetensors")
        found["tensors"].update({f"{name}/{key}": value for key, value in weights.items()})
    for name, settings in VARIANTS.items():
        given = {**SHORT_TRAINING, **settings}
        found["variants"][name] = trained(shop, f"variant-{name}", "perceiver", SMALL, given)
    for kind in KINDS:
        found["kinds"][kind] = trained(shop, f"kind-{kind}", kind, {}, SHORT_TRAINING)
    return found


def trained(
    shop: Workshop, name: str, kind: str, options: dict[str, int], settings: dict[str, Any]
) -> dict[str, Any]:
    """Losses, answers and a checksum of one training."""
    try:
        wire, folder = shop.train(name, "weather", kind, options, **settings)
    except latentwire.LatentWireError as error:  # a kind may not suit the pair
        return {"error": str(error)}
    return {
        "metrics": read_lines(folder / "metrics.jsonl"),
        "answers": answers(wire, TEXTS[:4]),
        "sha256": weights_checksum(folder),
    }


def make_runs(shop: Workshop) -> dict[str, Any]:
    """Load the recorded run folders and answer."""
    found: dict[str, Any] = {}
    for name in RUNS:
        wire = Wire.from_pretrained(shop.run(name), device="cpu")
        if name == "written":
            texts, questions = [list(column) for column in zip(*STORIES)]
            batch = wire.answer(texts, questions)
            streamed = ["".join(wire.stream(*story)) for story in STORIES]
            found[name] = {"answers": [vars(answer) for answer in batch], "streamed": streamed}
        else:
            alone = [vars(wire.answer(text)) for text in TEXTS[:3]]
            found[name] = {"answers": answers(wire, TEXTS), "alone": alone}
    return found


def make_messages(shop: Workshop) -> dict[str, Any]:
    """Send texts in every encoding with a recorded run, and read the recorded messages."""
    wire = Wire.from_pretrained(shop.run("perceiver"), device="cpu")
    train = [example.context for example in shop.task("weather").split("train")]
    wire.fit_lowrank(wire.sender.encode(train, wire.spec.layers), RANK)
    wire.save(shop.scratch / "with-basis")
    again = Wire.from_pretrained(shop.scratch / "with-basis", device="cpu")
    stored = shop.recording / "messages.safetensors"
    old = load_file(stored) if stored.is_file() else {}
    found: dict[str, Any] = {"messages": {}, "tensors": {}}
    for encoding in ENCODINGS:
        sender, receiver = with_codec(wire, encoding), with_codec(again, encoding)
        for place, message in enumerate(sender.send(list(TEXTS[:5]))):
            name, data = f"{encoding}/{place}", message.to_bytes()
            sent = receiver.read(data)
            found["messages"][name] = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "n_bytes": len(data),
                "read_alike": torch.equal(sent.soft, message.soft),
                "header": {key: getattr(sent, key) for key in ("bridge", "sender", "receiver")},
            }
            found["tensors"][f"soft/{name}"] = message.soft.clone()
            # A lowrank message names its basis, whose last bits depend on the machine.
            before = old.get(f"bytes/{name}") if encoding != "lowrank" else None
            raw = data if before is None else before.numpy().tobytes()
            found["tensors"][f"old/{name}"] = receiver.read(raw).soft.clone()
            if encoding != "lowrank":
                found["tensors"][f"bytes/{name}"] = torch.frombuffer(
                    bytearray(raw), dtype=torch.uint8
                )
    alone = wire.send(TEXTS[0])
    found["tensors"]["alone"] = alone.soft.clone()
    return found


def make_kinds(shop: Workshop, recorded: dict[str, Any] | None) -> dict[str, Any]:
    """Answer with bridge folders of default options, `"options": {}`, of each kind.

    Such bridges are too large to keep. The recording has the folder's config.json and the shape
    and statistics of each tensor; random weights like these stand in for the trained ones.
    """
    found: dict[str, Any] = {}
    for kind in KINDS:
        if recorded is not None:
            if kind not in recorded:
                continue
            config, tensors = recorded[kind]["config"], recorded[kind]["tensors"]
        else:
            folder = shop.scratch / "trained" / f"kind-{kind}" / "bridge"
            if not folder.is_dir():
                continue
            config = without_paths(json.loads((folder / "config.json").read_text("utf-8")))
            weights = load_file(folder / "model.safetensors")
            tensors = {name: describe(value) for name, value in weights.items()}
        made = shop.scratch / "made" / kind
        made.mkdir(parents=True)
        weights = {name: stand_in(name, facts) for name, facts in tensors.items()}
        save_file(weights, made / "model.safetensors")
        checksum = hashlib.sha256((made / "model.safetensors").read_bytes()).hexdigest()
        config = {**config, "weights_sha256": checksum}
        wire = None
        for _ in range(2):  # the second time with the fingerprint of the weights that stand in
            write_json(made / "config.json", config)
            wire = Wire.from_pretrained(made, device="cpu")
            config["fingerprint"] = wire.fingerprint
        assert wire is not None
        del config["weights_sha256"]
        found[kind] = {"answers": answers(wire, TEXTS[:4]), "config": config, "tensors": tensors}
    return found


def make_methods(shop: Workshop) -> dict[str, Any]:
    """Run `baselines` and `eval` on tiny tasks, from the command line."""
    weather, stories, colours = map(shop.task_file, ("weather", "stories", "colours"))
    other, suite, single = (shop.scratch / name for name in ("other", "suite", "single"))
    small = "--soft-tokens 4 --layer 2 --steps 6 --batch-size 4 --eval-every 3".split()
    train = shop.latentwire("train", "--task", colours, "--out", other, *PAIR_FLAGS, *small)
    tasks = ("--task", weather, "--task", stories)
    where = ("--other-run", other, "--out", suite)
    both = shop.latentwire("baselines", *tasks, *PAIR_FLAGS, *METHOD_FLAGS, *where)
    found: dict[str, Any] = {"train": train}
    for name, results in both["tasks"].items():
        found[name] = {"predictions": predictions(suite / name), "results": results}
    chosen = "--method gold --method uniform --timed 0".split()
    results = shop.latentwire("eval", "--task", weather, "--out", single, *PAIR_FLAGS, *chosen)
    found["eval"] = {"predictions": predictions(single), "results": results}
    again = ("eval", "--run", shop.run("perceiver"), "--task", weather, "--device", "cpu")
    flags = "--relay-limit 4 --prompt-val-limit 4 --timed 0".split()
    found["eval-run"] = shop.latentwire(*again, *flags)
    coarse = f"{CODEC_FLAG} lowrank --method bridge --method zero --timed 0".split()
    found["eval-lowrank"] = shop.latentwire(*again, *coarse)
    return without_volatile(found, shop.scratch)


# -- helpers of the parts -------------------------------------------------------------------------


def with_codec(wire: Wire, name: str) -> Wire:
    """A wire with another codec, also in versions that called a codec an encoding."""
    change = getattr(wire, "with_codec", None) or wire.with_encoding
    other: Wire = change(name)
    return other


def answers(wire: Wire, texts: tuple[str, ...]) -> list[dict[str, Any]]:
    """Answers to texts in one batch, as JSON."""
    return [vars(answer) for answer in wire.answer(list(texts))]


def predictions(folder: Path) -> dict[str, Any]:
    """Stored predictions below a folder, by method and seed, as columns.

    The right answers are left out: they are in the data, and `values` says how each was scored.
    """
    found = {}
    for path in sorted(folder.rglob("predictions.*.jsonl")):
        seed = "" if path.parent == folder else f"/{path.parent.name}"
        rows = read_lines(path)
        columns = list(dict.fromkeys(key for row in rows for key in row))
        columns = [column for column in columns if column not in ("target", "correct")]
        found[path.name.split(".")[1] + seed] = {
            column: [row.get(column) for row in rows] for column in columns
        }
    return found


def weights_checksum(run: Path) -> str:
    """Checksum of a run's weights that does not depend on the layout of the file."""
    digest = hashlib.sha256()
    for name, value in sorted(load_file(run / "bridge" / "model.safetensors").items()):
        digest.update(name.encode())
        digest.update(value.numpy().tobytes())
    return digest.hexdigest()


def describe(value: torch.Tensor) -> dict[str, Any]:
    """Shape and statistics of a tensor; all of it if it is tiny or not of floats."""
    facts: dict[str, Any] = {"shape": list(value.shape)}
    if not value.is_floating_point() or value.numel() <= 4:
        return {**facts, "dtype": str(value.dtype).split(".")[1], "values": value.tolist()}
    low, high, mean, std = (
        round(float(end), 6)
        for end in (value.min(), value.max(), value.double().mean(), value.double().std())
    )
    if value.dim() > 1 and low <= 0 <= high:
        # A short training leaves some matrices near zero, which would hide errors in later layers.
        return {**facts, "mean": mean, "std": max(std, 0.1), "low": -1.0, "high": 1.0}
    return {**facts, "mean": mean, "std": std, "low": low, "high": high}


def stand_in(name: str, facts: dict[str, Any]) -> torch.Tensor:
    """A tensor as `describe` described it; the same name gives the same numbers."""
    if "values" in facts:
        return torch.tensor(facts["values"], dtype=getattr(torch, facts["dtype"]))
    random = np.random.RandomState(zlib.crc32(name.encode()))
    numbers = random.standard_normal(facts["shape"]) * facts["std"] + facts["mean"]
    return torch.from_numpy(numbers.clip(facts["low"], facts["high"]).astype(np.float32))


def keep_run(source: Path, target: Path) -> None:
    """Copy what makes a run folder loadable, without paths and names of this machine."""
    shutil.copytree(source / "bridge", target / "bridge")
    inner = target / "bridge" / "config.json"
    write_json(inner, without_paths(json.loads(inner.read_text("utf-8"))), indent=1)
    config = json.loads((source / "config.json").read_text("utf-8"))
    write_json(target / "config.json", {"setting": config["setting"]}, indent=1)
    for path in target.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """A bridge's configuration without the folder of the task's data, which answers do not need."""
    return {**config, "task_folder": None}


def without_volatile(value: Any, scratch: Path) -> Any:
    """JSON without times, environments and paths of temporary folders."""
    if isinstance(value, dict):
        kept = {key: each for key, each in value.items() if key not in VOLATILE}
        return {key: without_volatile(each, scratch) for key, each in kept.items()}
    if isinstance(value, list):
        return [without_volatile(each, scratch) for each in value]
    return value.replace(str(scratch), "") if isinstance(value, str) else value


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON Lines file."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.strip()]


def write_json(path: Path, value: Any, indent: int | None = None) -> None:
    """Write JSON without spaces, or indented."""
    separators = None if indent else (",", ":")
    text = json.dumps(
        value, indent=indent, ensure_ascii=False, allow_nan=False, separators=separators
    )
    path.write_text(text + "\n", encoding="utf-8")


# -- comparing ------------------------------------------------------------------------------------


class Difference:
    """What differs between two trees of JSON values and tensors.

    Args:
        tolerance: Largest absolute difference of two floats that counts as none. Above zero,
            checksums and bytes of messages are not compared.
    """

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance
        self.first, self.n_different, self.n_values, self.largest = "", 0, 0, 0.0

    def look(self, old: Any, new: Any, where: str = "") -> None:
        """Compare a value and all below it."""
        if isinstance(old, dict) and isinstance(new, dict):
            for key in old:  # fields may be added
                inner = f"{where}.{key}" if where else str(key)
                if key in WORDING:
                    continue
                if key not in new:
                    self._note(inner, "missing now")
                elif key == "checks":  # comparisons of baselines, in any order
                    lists = [
                        sorted(each[key], key=lambda c: (c["a"], c["b"])) for each in (old, new)
                    ]
                    self.look(*lists, inner)
                elif not (self.tolerance and (key == "sha256" or key.startswith("bytes/"))):
                    self.look(old[key], new[key], inner)
        elif isinstance(old, list) and isinstance(new, list):
            if len(old) != len(new):
                self._note(where, f"{len(old)} items before, {len(new)} now")
            for place, (left, right) in enumerate(zip(old, new)):
                self.look(left, right, f"{where}[{place}]")
        elif isinstance(old, torch.Tensor) and isinstance(new, torch.Tensor):
            self._look_at_tensors(old, new, where)
        else:
            self.n_values += 1
            if isinstance(old, float) and isinstance(new, float):
                self.largest = max(self.largest, abs(old - new))
                if abs(old - new) <= self.tolerance:
                    return
            if type(old) is not type(new) or old != new:
                self._note(where, f"{short(old)} before, {short(new)} now")

    def _look_at_tensors(self, old: torch.Tensor, new: torch.Tensor, where: str) -> None:
        self.n_values += old.numel()
        facts = [f"{tuple(each.shape)} {each.dtype}" for each in (old, new)]
        if facts[0] != facts[1]:
            self._note(where, f"{facts[0]} before, {facts[1]} now")
            return
        gap = (old.double() - new.double()).abs()
        self.largest = max(self.largest, float(gap.max()) if gap.numel() else 0.0)
        if self.tolerance:
            wrong = ~(gap <= self.tolerance)
        else:  # by bits, so that NaN equals NaN and -0 is not 0
            bits = [each.flatten()[:, None].view(torch.uint8) for each in (old, new)]
            wrong = (bits[0] != bits[1]).any(-1).view(old.shape)
        if wrong.any():
            place = tuple(wrong.nonzero()[0].tolist())
            said = f"{old[place].item()} before, {new[place].item()} now"
            self._note(f"{where}{list(place)}", said, int(wrong.sum()))

    def _note(self, where: str, what: str, n: int = 1) -> None:
        self.first = self.first or f"{where}: {what}"
        self.n_different += n

    def sentence(self) -> str:
        """The result in one line."""
        if not self.n_different:
            allowed = f", largest absolute difference {self.largest:.3g}" if self.largest else ""
            return f"same ({self.n_values:,} values{allowed})"
        return (
            f"differs at {self.first} ({self.n_different:,} of {self.n_values:,} values, largest "
            f"absolute difference {self.largest:.3g})"
        )


def short(value: Any) -> str:
    """A value in a few words."""
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


# -- recordings -----------------------------------------------------------------------------------

PARTS = ("training", "runs", "messages", "kinds", "methods")


def record(out: Path, data: Path) -> None:
    """Make a recording.

    Args:
        out: New folder; one that holds nothing but `data/` will do.
        data: Tasks, which are copied into it.
    """
    if any(path.name != "data" for path in out.glob("*")):
        sys.exit(f"error: {out} is not empty. Give a new folder.")
    if data.resolve() != (out / "data").resolve():
        shutil.copytree(data, out / "data")
    with workshop(out) as shop:
        for part in PARTS:
            print(f"recording {part}", file=sys.stderr, flush=True)
            found = make(shop, part, None)
            if part == "training":
                for name in RUNS:
                    keep_run(shop.scratch / "trained" / f"run-{name}", out / "runs" / name)
                del found["tensors"]  # the run folders hold them
            if tensors := found.pop("tensors", None):
                save_file(tensors, out / f"{part}.safetensors")
            write_json(out / f"{part}.json", found)
        write_json(out / "environment.json", environment(), indent=1)


def compare(recording: Path, parts: tuple[str, ...], tolerance: float) -> bool:
    """Make a recording again and print what differs; returns whether all is the same."""
    before = json.loads((recording / "environment.json").read_text("utf-8"))
    for name, now in environment().items():
        if before.get(name) != now:
            print(f"note: recorded with {name} {before.get(name)}, compared with {now}")
    same = True
    with workshop(recording) as shop:
        for part in parts:
            # What a recorded folder answers does not depend on bits of a training.
            difference = Difference(max(tolerance, 1e-6) if part == "runs" else tolerance)
            try:
                old = recorded_part(recording, part)
                difference.look(old, as_json(make(shop, part, old)))
                said = difference.sentence()
                same = same and not difference.n_different
            except Exception as error:
                traceback.print_exc()
                said, same = f"differs: {type(error).__name__}: {error}", False
            print(f"{part}: {said}", flush=True)
    return same


def make(shop: Workshop, part: str, recorded: dict[str, Any] | None) -> dict[str, Any]:
    """What one part gives with the code of today.

    Each part starts with an empty cache: sender states that other parts left there came from other
    batches, so their last bits differ.
    """
    os.environ["LATENTWIRE_CACHE"] = str(shop.scratch / f"cache-{part}")
    if part == "kinds":
        return make_kinds(shop, recorded)
    makers: dict[str, Callable[[Workshop], dict[str, Any]]] = {
        "training": make_training,
        "runs": make_runs,
        "messages": make_messages,
        "methods": make_methods,
    }
    return makers[part](shop)


def recorded_part(recording: Path, part: str) -> dict[str, Any]:
    """What one part gave when it was recorded."""
    found: dict[str, Any] = json.loads((recording / f"{part}.json").read_text("utf-8"))
    if part == "training":
        found["tensors"] = {
            f"{name}/{key}": value
            for name in RUNS
            for key, value in load_file(
                recording / "runs" / name / "bridge" / "model.safetensors"
            ).items()
        }
    elif (tensors := recording / f"{part}.safetensors").is_file():
        found["tensors"] = load_file(tensors)
    return found


def as_json(found: dict[str, Any]) -> dict[str, Any]:
    """A part as it would be read from its file: tuples as lists; tensors stay."""
    tensors = {"tensors": found["tensors"]} if "tensors" in found else {}
    rest = {key: value for key, value in found.items() if key != "tensors"}
    return {**json.loads(json.dumps(rest)), **tensors}


def environment() -> dict[str, str]:
    """What rounding depends on."""
    return {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "machine": platform.machine(),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }


@contextmanager
def workshop(recording: Path) -> Iterator[Workshop]:
    """A temporary folder and one thread."""
    torch.set_num_threads(1)
    print(f"code: {Path(latentwire.__file__).parent}", file=sys.stderr)
    with tempfile.TemporaryDirectory() as folder:
        os.environ.pop("LATENTWIRE_DATA", None)
        yield Workshop(recording.resolve(), Path(folder).resolve())


def demo(run: Path) -> dict[str, Any]:
    """Predictions of a finished demo, its losses and a checksum of its weights."""
    if not (run / "results.json").is_file():
        sys.exit(f"error: {run} holds no finished demo: it has no results.json.")
    results = json.loads((run / "results.json").read_text("utf-8"))
    found: dict[str, Any] = {"methods": {}, "metrics": {}, "prompts": {}}
    for name, columns in predictions(run).items():
        rows = zip(*(columns.get(key, [None] * len(columns["id"])) for key in ROW))
        found["methods"][name] = {
            row[0]: [*row[1:-1], [round(score, 4) for score in row[-1] or ()]] for row in rows
        }
        found["metrics"][name] = results["methods"][name]["metrics"]
        found["prompts"][name] = results["methods"][name]["settings"]
    log = [row for row in read_lines(run / "metrics.jsonl") if "loss" in row]
    found["losses"] = [round(row["loss"], 4) for row in log]
    found["sha256"] = weights_checksum(run)
    return found


ROW = ("id", "prediction", "n_bytes", "text", "scores")
"""What is kept of a prediction of the demo."""


def main() -> None:
    """Entry point."""
    arguments = parse()
    if arguments.command == "record":
        record(arguments.recording, arguments.data)
    elif arguments.command == "compare":
        sys.exit(not compare(arguments.recording, arguments.parts, arguments.tolerance))
    elif arguments.command == "record-demo":
        write_json(arguments.file, demo(arguments.run))
    else:
        difference = Difference(arguments.tolerance)
        old = json.loads(arguments.file.read_text("utf-8"))
        difference.look(old, as_json(demo(arguments.run)))
        print(f"demo: {difference.sentence()}")
        sys.exit(bool(difference.n_different))


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="make a recording")
    recording.add_argument("recording", type=Path, help="new folder")
    recording.add_argument(
        "--data", type=Path, default=HERE / "recording" / "data", help="folder of the tasks"
    )
    comparing = commands.add_parser("compare", help="make it again and compare")
    comparing.add_argument("recording", type=Path, help="folder of a recording")
    comparing.add_argument("--parts", type=parts_of, default=PARTS, help=",".join(PARTS))
    keeping = commands.add_parser("record-demo", help="keep predictions of a demo")
    again = commands.add_parser("compare-demo", help="compare predictions of a demo")
    for command in (keeping, again):
        command.add_argument("run", type=Path, help="run folder of a finished demo")
        command.add_argument("file", type=Path, help="JSON file of the recording")
    for command in (comparing, again):
        command.add_argument(
            "--tolerance", type=float, default=0.0, help="allowed absolute difference of floats"
        )
    return parser.parse_args()


def parts_of(names: str) -> tuple[str, ...]:
    """Names of parts, joined by commas, in the order in which they are made."""
    chosen = names.split(",")
    if unknown := [name for name in chosen if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"no part {unknown[0]}; known: {', '.join(PARTS)}")
    return tuple(part for part in PARTS if part in chosen)


if __name__ == "__main__":
    main()
