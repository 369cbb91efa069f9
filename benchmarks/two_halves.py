"""Run an encoder and a decoder in two processes and compare them with one wire.

    python benchmarks/two_halves.py --run runs/demo [--split test] [--n 200] [--json]

Three processes answer the same examples of a trained run: one wire, then an encoder that writes
message files and a decoder that reads them. The weights of the other model are hidden from the two
halves: an embedded model's packages cannot be imported and its converted copy is not in the cache.
The decoder's copy of the run has no bridge weights. Prints a table, or one JSON object: equal
answers, the largest difference of a score, and the peak memory (resident set) of each process.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from importlib.abc import MetaPathFinder
from pathlib import Path
from typing import Any

from latentwire import Decoder, Encoder, Wire
from latentwire.core.errors import LatentWireError, UsageError
from latentwire.core.files import cache_dir
from latentwire.models import EMBEDDED, LanguageModel, load_model
from latentwire.wire.contract import Contract
from latentwire.wire.saving import load_contract


class HiddenPackages(MetaPathFinder):
    """Makes packages look as if they were not installed.

    Args:
        names: Import names of the packages.
    """

    def __init__(self, names: set[str]) -> None:
        self.names = names

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> None:
        if fullname.split(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named '{fullname}'", name=fullname)


def hide(model: str) -> bool:
    """Hide the packages of an embedded model and check that it cannot be loaded any more."""
    if model not in EMBEDDED:
        return False
    sys.meta_path.insert(0, HiddenPackages({package for package, _ in EMBEDDED[model].parts}))
    try:
        load_model(model)
    except (LatentWireError, ImportError):
        return True
    raise RuntimeError(f"'{model}' can still be loaded: its weights are not hidden.")


def answer_with(role: str, work: Path) -> dict[str, Any]:
    """Do the work of one process.

    Args:
        role: `wire`, `encoder` or `decoder`.
        work: Folder with `run/`, `examples.json` and `messages/`.
    Returns: Answers, if the process makes any, and what it measured.
    """
    run, messages = work / role / "run", work / "messages"
    contract = load_contract(run)
    examples = json.loads((work / "examples.json").read_text())
    texts, questions = examples["texts"], examples["questions"]
    other = {"encoder": contract.receiver.name, "decoder": contract.sender.name}.get(role)
    hidden = other is not None and other != models_of(role, contract)[0] and hide(other)
    start_mb = status_mb("VmRSS")
    found: dict[str, Any] = {}
    if role == "wire":
        wire = Wire.from_pretrained(run)
        began, answers = time.perf_counter(), wire.answer(texts, questions)
    elif role == "encoder":
        encoder = Encoder.from_pretrained(run)
        began, answers = time.perf_counter(), []
        for i, message in enumerate(encoder.encode(texts, questions)):
            (messages / f"{i:06}.safetensors").write_bytes(message.to_bytes())
    else:
        decoder = Decoder.from_pretrained(run)
        datas = [path.read_bytes() for path in sorted(messages.iterdir())]
        began, answers = time.perf_counter(), decoder.answer(datas, questions)
    found["seconds"] = time.perf_counter() - began
    loaded = [each.name for each in gc.get_objects() if type(each) is LanguageModel]
    return found | {
        "answers": [[answer.label, answer.scores] for answer in answers],
        "models": sorted({*loaded}),
        "other_weights_hidden": hidden,
        "start_mb": start_mb,
        "peak_mb": status_mb("VmHWM"),
    }


def models_of(role: str, contract: Contract) -> list[str]:
    """Names of the models that a process needs."""
    names = {"encoder": [contract.sender.name], "decoder": [contract.receiver.name]}
    return names.get(role, [contract.sender.name, contract.receiver.name])


def status_mb(key: str) -> float:
    """A memory size that Linux reports about this process, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024 / 1e6
    raise UsageError(f"/proc/self/status has no {key}: this benchmark needs Linux.")


def prepare(run: Path, split: str, n: int, work: Path) -> int:
    """Write examples, one copy of the run per process and caches without the other model."""
    contract = load_contract(run)
    if contract.task is None:
        raise UsageError(f"The run in {run} was not trained on a task.")
    examples = contract.task.sample(split, n, 0)  # type: ignore[arg-type]
    questions = [each.question for each in examples] if contract.task.has_questions else None
    given = {"texts": [each.context for each in examples], "questions": questions}
    (work / "examples.json").write_text(json.dumps(given))
    (work / "messages").mkdir()
    for role in ("wire", "encoder", "decoder"):
        copy = work / role / "run" / "bridge"
        shutil.copytree(run / "bridge" if (run / "bridge").is_dir() else run, copy)
        if role == "decoder":
            (copy / "model.safetensors").unlink()
        models = work / role / "cache" / "models"
        models.mkdir(parents=True)
        for name in models_of(role, contract):
            if name in EMBEDDED:
                load_model(name)  # converts it if needed
                for folder in (cache_dir() / "models").glob(f"*-{EMBEDDED[name].sha256[:16]}"):
                    (models / folder.name).symlink_to(folder)
    return len(examples)


def run_process(role: str, work: Path) -> dict[str, Any]:
    """Run one role in a process of its own and return what it printed."""
    done = subprocess.run(
        [sys.executable, __file__, "--role", role, "--work", str(work)],
        env={**os.environ, "LATENTWIRE_CACHE": str(work / role / "cache")},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def compare(run: Path, split: str, n: int) -> dict[str, Any]:
    """Run all three processes and compare their answers."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        n = prepare(run, split, n, work)
        found = {role: run_process(role, work) for role in ("wire", "encoder", "decoder")}
        sizes = [path.stat().st_size for path in (work / "messages").iterdir()]
    one, two = found["wire"]["answers"], found["decoder"]["answers"]
    pairs = list(zip(one, two, strict=True))
    apart = [abs(a[1][c] - b[1][c]) for a, b in pairs for c in a[1]]
    for process in found.values():
        del process["answers"]
    return {
        "benchmark": "two_halves",
        "run": str(run),
        "split": split,
        "n": n,
        "equal_answers": sum(a[0] == b[0] for a, b in pairs),
        "largest_score_difference": max(apart, default=0.0),
        "bytes_per_message": sum(sizes) / len(sizes),
        "processes": found,
    }


def main() -> None:
    """Parse the command line, compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path, help="folder of a trained run")
    parser.add_argument("--split", default="test", help="split that is answered (default: test)")
    parser.add_argument("--n", type=int, default=200, help="number of examples (default: 200)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--role", choices=("wire", "encoder", "decoder"), help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.role:
        print(json.dumps(answer_with(args.role, args.work)))
        return
    if args.run is None:
        parser.error("give --run, the folder of a trained run")
    found = compare(args.run, args.split, args.n)
    if args.json:
        print(json.dumps(found, indent=2))
        return
    print(
        f"{found['equal_answers']} of {found['n']} answers are equal; largest difference of a "
        f"score: {found['largest_score_difference']:.2g}; "
        f"{found['bytes_per_message']:,.0f} bytes per message."
    )
    print(f"{'process':<10}{'peak MB':>9}{'start MB':>10}{'seconds':>9}  models")
    for role, process in found["processes"].items():
        hidden = " (the other one's weights hidden)" if process["other_weights_hidden"] else ""
        print(
            f"{role:<10}{process['peak_mb']:>9,.0f}{process['start_mb']:>10,.0f}"
            f"{process['seconds']:>9.1f}  {', '.join(process['models'])}{hidden}"
        )


if __name__ == "__main__":
    main()
