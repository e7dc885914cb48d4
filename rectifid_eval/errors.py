"""What ends an evaluation, told to whoever started it."""

from __future__ import annotations


class EvaluationError(Exception):
    """What cannot be evaluated, and what to do."""
