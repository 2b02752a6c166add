"""Quality: what compression cost in pictures."""

from bench.quality.evaluate import evaluate_quality

__all__ = ["evaluate_quality"]
