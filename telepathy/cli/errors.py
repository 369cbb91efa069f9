"""Entry-point wrapper: one error line for the user, the documented exit code, no traceback."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from latentwire.core.errors import InterruptedRunError, LatentWireError
from latentwire.core.files import write_text

INTERRUPTED = (
    "Stopped by Ctrl-C; finished work is kept. Repeat the command to continue "
    "(`latentwire train`: add --resume)."
)
# File system errors that a user can fix; every other OSError is a bug and keeps its traceback.
_USER_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS)


def run_guarded(command: Callable[[], object]) -> None:
    """Run a command; turn errors that a user can fix into one line and an exit code.

    Args:
        command: The command, with its arguments bound.
    """
    try:
        command()
    except LatentWireError as error:
        _record_error(error)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"error: {INTERRUPTED}", file=sys.stderr)
        sys.exit(InterruptedRunError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _record_error(error)
        if error.errno not in _USER_ERRNOS:
            raise
        print(f"error: {error.strerror}: {error.filename or 'unknown file'}.", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        _record_error(error)
        raise


def _record_error(error: Exception) -> None:
    """Write the error to the run folder if the registry started this process.

    A log may lack the error type, which decides how the registry classifies the failure.
    """
    folder = os.environ.get("LATENTWIRE_RUN_DIR")
    if not folder:
        return
    types = [kind.__name__ for kind in type(error).__mro__]
    try:
        write_text(
            Path(folder) / "error.json", json.dumps({"types": types, "error": str(error)[:2000]})
        )
    except OSError as write_error:  # the original error matters more
        print(f"warning: {write_error}", file=sys.stderr)
