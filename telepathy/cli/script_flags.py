"""Flags that the scripts share."""

from __future__ import annotations

import argparse
from collections.abc import Mapping

from telepathy.cli.config_options import describe, value_type


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that choose the models and the device."""
    add_gpu_flag(parser)
    for flag, role in (("--source_model", "sender"), ("--target_model", "receiver")):
        parser.add_argument(
            flag,
            help=f"{role} model: embedded name, local folder, .gguf file or hub id (default: the "
            f"{role} of the embedded pair)",
        )


def add_gpu_flag(parser: argparse.ArgumentParser) -> None:
    """Add `--gpu`."""
    parser.add_argument("--gpu", type=int, help="index of the GPU (default: the best device)")


def add_config_flags(
    parser: argparse.ArgumentParser, keys: Mapping[str, str], **defaults: object
) -> None:
    """Add a flag for each option of `ExperimentConfig`, with its type and help text.

    Args:
        parser: The parser.
        keys: Name of a flag -> dotted key.
        defaults: Defaults of the script that differ from those of the configuration.
    """
    for flag, key in keys.items():
        default = defaults.get(flag)
        text = describe(key, with_default=default is None)
        text = f"{text[0].lower()}{text[1:]}" + ("" if default is None else f" Default: {default}.")
        kind = value_type(key)
        parser.add_argument(f"--{flag}", type=kind, default=default, help=text.replace("%", "%%"))


def device_of(args: argparse.Namespace) -> str:
    """The device that `--gpu` selects."""
    return "auto" if args.gpu is None else f"cuda:{args.gpu}"


def given_values(args: argparse.Namespace, keys: Mapping[str, str]) -> dict[str, object]:
    """Values of the flags that were given, by the dotted key of the configuration.

    Args:
        args: Parsed flags.
        keys: Name of a flag -> dotted key.
    """
    values = {key: getattr(args, flag) for flag, key in keys.items()}
    return {key: value for key, value in values.items() if value is not None}
