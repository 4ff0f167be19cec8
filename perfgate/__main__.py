"""``python -m perfgate COMMAND``; see `perfgate.cli`."""

from __future__ import annotations

import sys

from perfgate.cli import main
from perfgate.command_line import refused
from perfgate.records import GateError

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(refused(GateError("interrupted", "It was interrupted before it was done; run it again.")))
