"""How a command of this project ends: one line for the user, the right exit code, no traceback."""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from latentwire.core.errors import InterruptedRunError, LatentWireError
from latentwire.core.files import write_text

STOPPED = (
    "Stopped by Ctrl-C; what was finished is kept. Go on with the same command "
    "(train: and --resume)."
)


def guarded(command: Callable[[], object]) -> None:
    """Run a command; an error a user can act on becomes one line and the right exit code."""
    try:
        command()
    except LatentWireError as error:
        _leave_type(error)
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print(f"error: {STOPPED}", file=sys.stderr)
        sys.exit(InterruptedRunError.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        _leave_type(error)
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
            raise
        print(f"error: {error.strerror}: {error.filename or 'a file'}.", file=sys.stderr)
        sys.exit(1)
    except Exception as error:
        _leave_type(error)
        raise


def _leave_type(error: Exception) -> None:
    """Tell the registry, where it started this process, the type of the error: its log may not."""
    folder = os.environ.get("LATENTWIRE_RUN_DIR")
    if not folder:
        return
    types = [kind.__name__ for kind in type(error).__mro__]
    try:
        write_text(
            Path(folder) / "error.json", json.dumps({"types": types, "error": str(error)[:2000]})
        )
    except OSError as full:  # the error itself matters more than this note of it
        print(f"warning: {full}", file=sys.stderr)
