"""Exceptions of LatentWire. Each also derives from the matching built-in exception.

Messages say what was given, what is allowed and what to do next. The command line prints the
message and exits with `exit_code`.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

REQUEUE = 75  # EX_TEMPFAIL of sysexits.h: try again later, with --resume


class LatentWireError(Exception):
    """Base class of all errors that a user can act on."""

    exit_code = 1
    """Exit status of the command line: 1 failure, 2 usage error, 75 try again, 130 interrupted."""


class UsageError(LatentWireError, ValueError):
    """An argument is unknown, out of range, or conflicts with another one."""

    exit_code = 2


class UnknownNameError(UsageError):
    """A name is unknown; the message suggests the most similar known name."""

    @classmethod
    def of(cls, what: str, name: str, known: Iterable[str]) -> UnknownNameError:
        """Return the error `Unknown bridge 'percever'. Did you mean 'perceiver'? Known: ..`"""
        known = sorted(known)
        close = difflib.get_close_matches(name.lower(), known, n=1, cutoff=0.5)
        hint = f" Did you mean '{close[0]}'?" if close else ""
        return cls(f"Unknown {what} '{name}'.{hint} Known: {', '.join(known) or 'none'}.")


class NotApplicableError(UsageError):
    """A method does not apply to this task or pair. It is skipped when all methods run."""


class ConfigError(UsageError):
    """A configuration has wrong keys or values; the message lists all of them."""


class ShapeError(LatentWireError, ValueError):
    """A tensor does not have the shape that the module was built for."""


class DataError(LatentWireError, ValueError):
    """A data set cannot be found or read, or its content is invalid."""


class MissingPackageError(LatentWireError, ImportError):
    """A package is not installed; the message has the install command."""


class ModelError(LatentWireError, OSError):
    """A language model cannot be found or read."""


class BridgeError(LatentWireError, ValueError):
    """A bridge folder is missing, damaged or has an unsupported format."""


class PairMismatchError(BridgeError):
    """A bridge is used with a sender or receiver for which it was not trained."""


class MessageError(LatentWireError, ValueError):
    """Bytes are not a message that this version can read."""


class NonFiniteError(LatentWireError, ArithmeticError):
    """A loss or gradient in training is NaN or infinite."""


class DiskFullError(LatentWireError, OSError):
    """The disk is full; no partial file is left."""


class InterruptedRunError(LatentWireError, RuntimeError):
    """A run was interrupted; its state is saved and the message says how to resume it."""

    exit_code = 130


class RequeueError(InterruptedRunError):
    """A run was stopped by a scheduler (SIGTERM, SIGUSR1) and should be resumed with --resume."""

    exit_code = REQUEUE
