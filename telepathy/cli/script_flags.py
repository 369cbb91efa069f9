"""Flags that the scripts share."""

from __future__ import annotations

import argparse


def add_model_flags(parser: argparse.ArgumentParser) -> None:
    """The pair and the GPU."""
    parser.add_argument("--source_model", help="sender: embedded name, folder, .gguf or hub id")
    parser.add_argument("--target_model", help="receiver: the same")
    parser.add_argument("--gpu", type=int, help="number of the GPU; default: the best device")


def device_of(args: argparse.Namespace) -> str:
    """The device name that `--gpu` asks for."""
    return "auto" if args.gpu is None else f"cuda:{args.gpu}"
