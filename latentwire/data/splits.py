"""Assign rows to train, val and test, without duplicates or leaks.

No text is in two splits: test has priority over val, and val over train. Rows of an official test
split are never dropped. Carving sorts texts by a hash of seed and text, so that
the result depends neither on the machine, nor on library versions, nor on the order of the rows.
"""

from __future__ import annotations

import hashlib
import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from latentwire.core.errors import DataError
from latentwire.data.build import ExampleBuilder, as_text
from latentwire.data.example import Example
from latentwire.data.rows import Row, Rows
from latentwire.data.spec import SplitName, TaskSpec
from latentwire.data.templates import field, fill

Hashes = NDArray[np.int64]
Indices = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Scan:
    """Data about each row of a source split, collected in one pass.

    Attributes:
        rows: Indices of the rows that the task keeps.
        texts: Hashes of the texts; equal for duplicates.
        groups: Hashes, with the seed, of the groups that carving keeps together.
        targets: Indices of the correct choices, -1 for generation.
        empty: True where the context is empty.
    """

    rows: Indices
    texts: Hashes
    groups: Hashes
    targets: NDArray[np.int16]
    empty: Mask


def scan(spec: TaskSpec, build: ExampleBuilder, rows: Rows, split: str) -> Scan:
    """Read every row of a source split once.

    Raises: DataError: If there are no rows, a row is invalid, or two examples have the same id.
    """
    key = text_key(spec)
    kept, texts, groups, ids = array("q"), array("q"), array("q"), array("q")
    targets, empty = array("h"), array("b")
    for index, row in enumerate(rows):
        try:
            if not is_kept(spec, row):
                continue
            example = build(row, f"{split}-{index}")
        except DataError as error:
            raise DataError(f"Task '{spec.name}', {error}") from None
        text = key(example)
        kept.append(index)
        texts.append(_hash(text))
        groups.append(_hash(f"{spec.carve.seed}:{_group(spec, build, row) or text}"))
        ids.append(_hash(example.id))
        targets.append(-1 if example.target is None else example.target)
        empty.append(not example.context)
    if not kept:
        raise DataError(f"Task '{spec.name}': {split} has no rows.")
    if repeated := len(ids) - len(np.unique(np.asarray(ids))):
        raise DataError(f"Task '{spec.name}': {repeated} ids in {split} are not unique.")
    return Scan(
        np.asarray(kept),
        np.asarray(texts),
        np.asarray(groups),
        np.asarray(targets),
        np.asarray(empty).astype(np.bool_),
    )


def is_kept(spec: TaskSpec, row: Row) -> bool:
    """Return whether the task keeps a row, according to `keep`."""
    return all(as_text(field(row, name)) in allowed for name, allowed in spec.keep.items())


def text_key(spec: TaskSpec) -> Callable[[Example], str]:
    """Return a function that maps examples with the same text to the same key."""
    ignore = re.compile(spec.unique.ignore) if spec.unique.ignore else None
    prefix = spec.unique.prefix

    def key(example: Example) -> str:
        text = f"{example.context} {example.question}".lower()
        if ignore:
            text = ignore.sub(" ", text)
        return " ".join(text.split())[:prefix]

    return key


class Splitter:
    """Computes the row indices of each split on first use.

    Args:
        spec: Validated task file.
        scan_of: Returns the scan of a source split.
        available: Names of the source splits that can be read.
    """

    def __init__(
        self, spec: TaskSpec, scan_of: Callable[[str], Scan], available: Iterable[str]
    ) -> None:
        self._spec = spec
        self._scan_of = scan_of
        self._available = set(available)
        self._done: dict[SplitName, Indices] = {}
        self.notes: list[str] = []

    def indices(self, name: SplitName) -> Indices:
        """Return the rows of a split as indices into the source split `source_split(name)`."""
        if name not in self._done:
            if name == "test" and "test" in self._spec.splits:
                self._done[name] = self._official_test()
            elif name == "val" and "val" in self._spec.splits:
                self._done[name] = self._official_val()
            else:
                self._done.update(self._train_and_carved())
        return self._done[name]

    def source_split(self, name: SplitName) -> str:
        """Return the name of the source split from which a split is taken."""
        return self._spec.splits.get(name) or self._spec.splits["train"]

    def _official_test(self) -> Indices:
        scanned = self._scan_of(self._spec.splits["test"])
        if n_empty := int(scanned.empty.sum()):
            self.notes.append(f"{n_empty:,} test rows have an empty context")
        return scanned.rows

    def _official_val(self) -> Indices:
        scanned = self._scan_of(self._spec.splits["val"])
        return scanned.rows[self._usable("val", scanned)]

    def _usable(self, name: SplitName, scanned: Scan) -> Mask:
        """Return a mask of rows that are neither empty nor in an official split with priority."""
        usable = ~scanned.empty
        if n_empty := int(scanned.empty.sum()):
            self.notes.append(f"{n_empty:,} {name} rows dropped: empty context")
        official: tuple[SplitName, ...] = ("test", "val") if name == "train" else ("test",)
        for other in official:
            source = self._spec.splits.get(other)
            if source in self._available:
                shared = usable & np.isin(scanned.texts, self._scan_of(source).texts)
                usable &= ~shared
                if n_shared := int(shared.sum()):
                    self.notes.append(f"{n_shared:,} {name} rows dropped: also in {other}")
        return usable

    def _train_and_carved(self) -> dict[SplitName, Indices]:
        """Return train and the splits that are carved from it."""
        carve = self._spec.carve
        scanned = self._scan_of(self._spec.splits["train"])
        usable = self._usable("train", scanned)
        if not (carve.val or carve.test):
            return {"train": scanned.rows[usable]}
        usable &= self._distinct(scanned, usable)
        if not usable.any():
            raise DataError(f"Task '{self._spec.name}': no usable train rows to carve splits from.")
        parts = _carve(self._spec, scanned, usable)
        _check_disjoint(
            self._spec.name, {name: scanned.texts[part] for name, part in parts.items()}
        )
        for name in ("val", "test"):
            if share := getattr(carve, name):
                self.notes.append(f"{name} carved from train: {share:.0%}, seed {carve.seed}")
        return {name: scanned.rows[part] for name, part in parts.items()}

    def _distinct(self, scanned: Scan, usable: Mask) -> Mask:
        """Return a mask of the first row of each text, without texts that have several labels."""
        kept = np.zeros_like(usable)
        candidates = np.flatnonzero(usable)
        _, first = np.unique(scanned.texts[candidates], return_index=True)
        kept[candidates[first]] = True
        if n_repeated := int(usable.sum() - kept.sum()):
            self.notes.append(f"{n_repeated:,} duplicate train rows dropped")
        if self._spec.labels:
            pairs = np.stack([scanned.texts[usable], scanned.targets[usable]])
            texts, n_labels = np.unique(np.unique(pairs, axis=1)[0], return_counts=True)
            disputed = kept & np.isin(scanned.texts, texts[n_labels > 1])
            kept &= ~disputed
            if n_disputed := int(disputed.sum()):
                self.notes.append(
                    f"{n_disputed:,} train rows dropped: their text has different labels"
                )
        return kept


def _carve(spec: TaskSpec, scanned: Scan, usable: Mask) -> dict[SplitName, Indices]:
    """Return indices into `scanned` for each carved split, stratified by label if possible."""
    stratified = bool(spec.labels) and not spec.unique.group
    strata = scanned.targets if stratified else np.zeros_like(scanned.targets)
    parts: dict[SplitName, list[Indices]] = {"test": [], "val": [], "train": []}
    for stratum in np.unique(strata[usable]):
        members = usable & (strata == stratum)
        shuffled = np.unique(scanned.groups[members])  # sorting by hash shuffles
        n_test = _n_share(spec.carve.test, len(shuffled))
        n_val = _n_share(spec.carve.val, len(shuffled))
        cut = np.split(shuffled, [n_test, n_test + n_val])
        for part, groups in zip(parts.values(), cut, strict=True):
            part.append(np.flatnonzero(members & np.isin(scanned.groups, groups)))
    carved = {name: np.concatenate(found) for name, found in parts.items()}
    # In hash order, so that labels are mixed even if the source is sorted by label.
    return {
        name: part[np.argsort(scanned.groups[part], kind="stable")]
        for name, part in carved.items()
        if name not in spec.splits or name == "train"
    }


def _group(spec: TaskSpec, build: ExampleBuilder, row: Row) -> str:
    if not spec.unique.group:
        return ""
    prepared = build.prepare(row)
    return fill(spec.unique.group, lambda name: str(field(prepared, name)))


def _n_share(share: float, n: int) -> int:
    return max(1, round(share * n)) if share else 0


def _check_disjoint(task: str, texts: dict[SplitName, Hashes]) -> None:
    names = list(texts)
    for i, name in enumerate(names):
        for other in names[i + 1 :]:
            if shared := len(np.intersect1d(texts[name], texts[other])):
                raise DataError(f"Task '{task}': {shared} texts are in both {name} and {other}.")


def _hash(text: str) -> int:
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "little", signed=True)
