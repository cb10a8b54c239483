"""Progress goes to stderr; stdout is for the tables."""

from __future__ import annotations

import sys


def say(text: str) -> None:
    """One line."""
    print(text, file=sys.stderr, flush=True)
