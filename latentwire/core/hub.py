"""Check whether the hub is reachable, because its client retries for half a minute if not."""

from __future__ import annotations

import os
import socket
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache


@cache
def hub_is_reachable(timeout_s: float = 3.0) -> bool:
    """Return whether the hub's host accepts connections or a proxy is configured.

    Respects HF_ENDPOINT and HF_HUB_OFFLINE.

    Args:
        timeout_s: Timeout of the connection in seconds.
    """
    if os.environ.get("HF_HUB_OFFLINE", "0").lower() in ("1", "true", "yes", "on"):
        return False
    from huggingface_hub.constants import ENDPOINT

    address = urllib.parse.urlsplit(ENDPOINT)
    if urllib.request.getproxies().get(address.scheme):
        return True
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        with socket.create_connection((address.hostname or "", port), timeout_s):
            return True
    except OSError:
        return False


@contextmanager
def offline_unless_reachable() -> Iterator[None]:
    """Put the hub's clients into offline mode inside the context if the hub is unreachable.

    The clients read the environment only on import, so their own switches are set.
    """
    import datasets
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE
    if not hub_is_reachable():
        constants.HF_HUB_OFFLINE = datasets.config.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE, datasets.config.HF_HUB_OFFLINE = before
