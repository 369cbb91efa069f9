"""Whether index, records and runs agree with each other."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from latentwire.core.errors import DataError
from telepathy.experiments.registry.index import salvage
from telepathy.experiments.registry.merging import merged
from telepathy.experiments.registry.record import COMPLETED, STALE, fingerprint_of
from telepathy.experiments.registry.registry import Registry
from telepathy.experiments.registry.store import read_record
from telepathy.experiments.registry.views import View, cut


@dataclass(frozen=True)
class Problem:
    """Something of one experiment that is not as it should be, and what helps."""

    key: str
    problem: str
    remedy: str


def validate(registry: Registry) -> View:
    """Hold the index against the records of the run folders, and the runs against the machine.

    Nothing is changed, a damaged index included.
    """
    store = registry.store
    data = store.path.read_bytes() if store.path.exists() else b""
    records, n_unreadable = salvage(data) if data else ([], 0)
    known = {r.key: r for r in records}
    problems = []
    if n_unreadable or len(known) < len(records):
        what = f"{n_unreadable} lines cannot be read" if n_unreadable else "a git conflict is in it"
        problems.append(Problem(store.path.name, what, "--merge makes it anew"))
    for file in sorted(store.runs_dir.glob("*/record.json")):
        try:
            own = read_record(file)
        except DataError as error:
            problems.append(Problem(file.parent.name, str(error), "delete the file"))
            continue
        indexed = known.get(own.key)
        if indexed is None or merged(indexed, own).revision > indexed.revision:
            problems.append(
                Problem(own.key, "the index is behind the run's record", "--rebuild-registry")
            )
    for record in registry.current(known.values()):
        if record.fingerprint != fingerprint_of(record.config):
            problems.append(
                Problem(record.key, "its configuration was edited", "restore it, or add it anew")
            )
        if record.state == STALE:
            problems.append(Problem(record.key, record.error, "start it again, or --mark-rerun"))
        elif record.state == COMPLETED and not record.metrics and not record.result_file:
            problems.append(Problem(record.key, "completed without results", "--mark-rerun"))
    lines = [f"{len(known)} experiments, {len(problems)} problems"]
    for p in problems:
        lines += [cut(p.key), cut(f"    {p.problem}: {p.remedy}")]
    data_out = {"n": len(known), "problems": [asdict(p) for p in problems]}
    return View(data_out, lines, exit_code=1 if problems else 0)
