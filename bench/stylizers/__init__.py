"""Stylizers: what is measured."""

from bench.stylizers.cascade import (
    ModelFacts,
    Stylizer,
    Unsupported,
    load_stylizer,
    model_facts,
)

__all__ = ["ModelFacts", "Stylizer", "Unsupported", "load_stylizer", "model_facts"]
