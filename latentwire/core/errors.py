"""Every error LatentWire raises on purpose: one tree, each also the fitting built-in.

A message says what was given, what is allowed and what to do. The command line
prints it as one line and exits with `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: try again later, with --resume


class LatentWireError(Exception):
    """Base of all errors a user can act on. `exit_code`: 1 failed, 2 wrong usage, 75 try again."""

    exit_code = 1


class UsageError(LatentWireError, ValueError):
    """An argument is not allowed: wrong name, wrong range, wrong combination."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name is in no catalogue; the message suggests the nearest known one."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Build the message: `Unknown bridge 'percever'. Did you mean 'perceiver'? Known: ..`"""
        known = sorted(known)
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return cls(f"Unknown {what} '{name}'.{hint} Known: {', '.join(known) or 'none'}.")


class NotApplicableError(UsageError):
    """A method has no meaning for this task or pair; of all methods it is the one to leave out."""


class ConfigError(UsageError):
    """A configuration has wrong keys or values; the message lists all of them."""


class ShapeError(LatentWireError, ValueError):
    """A tensor has another shape than the module was built for."""


class DataError(LatentWireError, ValueError):
    """A data set cannot be found, read or trusted."""


class MissingPackageError(LatentWireError, ImportError):
    """A package is not installed; the message has the exact install command."""


class ModelError(LatentWireError, OSError):
    """A language model cannot be found or read."""


class BridgeError(LatentWireError, ValueError):
    """A bridge folder is missing, corrupt or of another format."""


class PairMismatchError(BridgeError):
    """A bridge is used with another sender or receiver than it was trained for."""


class MessageError(LatentWireError, ValueError):
    """Bytes are not a message this version can read."""


class NonFiniteError(LatentWireError, ArithmeticError):
    """Training met a loss or gradient that is NaN or infinite."""


class DiskFullError(LatentWireError, OSError):
    """No space is left where a file had to be written; nothing half-written stays."""


class InterruptedRunError(LatentWireError, RuntimeError):
    """A run was asked to stop; its state is saved and the message says how to go on."""

    exit_code = 130


class RequeueError(InterruptedRunError):
    """A run was asked to stop by a scheduler (SIGTERM, SIGUSR1): start it again with --resume."""

    exit_code = REQUEUE
