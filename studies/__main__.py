"""``python -m studies NAME …`` (``nox -s study -- NAME …``): runs one study; only that one is imported."""

from __future__ import annotations

import importlib
import sys

from perfgate import command_line

STUDIES = {
    "table": "this kernel beside the starting one, the vendor's, torch.compile's and the card's limit, in the same launches",
    "accuracy": "the errors of every precision against float64, and what full accuracy costs where stores are the limit",
    "host-cost": "what a call costs the host, beside torch.matmul and Triton's own launch",
    "cost-model": "the model of a kernel's time held to measured times of drawn tiles",
    "gates": "the rules of other gates and this one's on the same recorded launches; needs no card",
}
"""Each study and what it finds; its command has its name, with ``_`` for ``-``."""


def main(argv: list[str]) -> int:
    """Run one study; returns the exit code 0, 1 or 2."""
    if argv[:1] and argv[0] in STUDIES:
        module = importlib.import_module(f"studies.{argv[0].replace('-', '_')}.command")
        code: int = module.main(argv[1:])
        return code
    made = command_line.Parser(prog="python -m studies", description=", ".join(STUDIES))
    commands = made.add_subparsers(dest="study", required=True)
    for name, text in STUDIES.items():
        commands.add_parser(name, help=text, add_help=False)
    return command_line.run(made, argv, lambda _: 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
