"""A parser of command lines that says a usage error in one line instead of the whole usage."""

from __future__ import annotations

import argparse
from typing import NoReturn

from perfgate.records import GateError


class Parser(argparse.ArgumentParser):
    """Raises ``bad-usage`` where argparse would print and exit."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where to read more."""
        raise GateError("bad-usage", f"{message}; see {self.prog} --help.")
