"""``python -m perfgate COMMAND``; see `perfgate.cli`."""

from __future__ import annotations

import sys

from perfgate.cli import main
from perfgate.command_line import refused
from perfgate.records import GateError

if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("perfgate"):
            raise
        text = (
            f"The package {error.name} is not here, expected those of pyproject.toml; run it by nox, or install them."
        )
        sys.exit(refused(GateError("no-package", text)))
    except KeyboardInterrupt:
        sys.exit(refused(GateError("interrupted", "It was interrupted before it was done; run it again.")))
