"""Options and execution of the benchmarks in a suite, which measure trained runs."""

from __future__ import annotations

import inspect
import tempfile
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from latentwire.core.errors import UnknownNameError, UsageError
from latentwire.core.progress import Progress

# Name -> module and function that measures it; its keyword-only arguments are the options.
_MEASURES = {
    "latency": ("latentwire.bench.latency", "measure_latency"),
    "throughput": ("latentwire.bench.throughput", "measure_throughput"),
    "memory": ("latentwire.bench.memory", "measure_memory"),
    "wire": ("latentwire.bench.codecs", "measure_wire"),
    "train": ("latentwire.bench.training", "measure_training"),
}
BENCHMARKS = tuple(_MEASURES)
# Options that all benchmarks except `wire` have in common.
_SUBJECT: dict[str, Any] = {"input_tokens": None, "compile": False}


def benchmark_options(name: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """All options of a benchmark with their values, defaults included.

    Args:
        name: One of `BENCHMARKS`.
        given: Options that differ from the default; `1,16` stands for a list of integers.
    Raises: UnknownNameError: If the benchmark or an option does not exist. UsageError: If a list
        contains anything but integers.
    """
    known = {} if name == "wire" else dict(_SUBJECT)
    for option, parameter in inspect.signature(_measure(name)).parameters.items():
        if parameter.kind is parameter.KEYWORD_ONLY and option != "progress":
            known[option] = parameter.default
    for option, value in given.items():
        if option not in known:
            raise UnknownNameError.of(f"option of bench {name}", option, known)
        known[option] = _like(known[option], option, value)
    return {k: list(v) if isinstance(v, tuple | list) else v for k, v in known.items()}


def run_benchmark(
    name: str, run: Path, options: Mapping[str, Any], device: str, dtype: str, progress: Progress
) -> dict[str, Any]:
    """Measure a trained run.

    Args:
        name: One of `BENCHMARKS`.
        run: Run folder with a trained bridge.
        options: All options of the benchmark, from `benchmark_options`.
        device: Device of both models.
        dtype: Number format of both models.
        progress: Called with progress updates.
    Returns: The JSON object that `latentwire bench NAME --json` prints.
    """
    from latentwire.bench.subject import open_subject

    measure, rest = _measure(name), dict(options)
    chosen: dict[str, Any] = {"run": run, "device": device, "dtype": dtype}
    if name != "wire":
        chosen |= {"input_tokens": rest.pop("input_tokens"), "compiled": rest.pop("compile")}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if name == "memory":  # loading is measured, too
            return dict(measure(lambda: open_subject(folder, **chosen), **rest))
        subject = open_subject(folder, **chosen, progress=progress)
        if name == "wire":
            return dict(measure([subject], **rest, progress=progress))
        more = (folder,) if name == "train" else ()
        return dict(measure(subject, *more, **rest, progress=progress))


def _measure(name: str) -> Callable[..., Any]:
    if name not in _MEASURES:
        raise UnknownNameError.of("benchmark", name, BENCHMARKS)
    module, function = _MEASURES[name]
    return getattr(import_module(module), function)  # type: ignore[no-any-return]


def _like(default: Any, option: str, value: Any) -> Any:
    """The value as a list of integers if the default is one."""
    if not isinstance(default, tuple | list) or not all(isinstance(n, int) for n in default):
        return value.split(",") if option == "codecs" and isinstance(value, str) else value
    parts = value.split(",") if isinstance(value, str) else value
    try:
        return [int(part) for part in (parts if isinstance(parts, list | tuple) else [parts])]
    except ValueError:
        raise UsageError(f"{option} takes integers joined by commas, not {value!r}") from None
