"""Content and style losses as metrics; they share one pass over each output."""

from collections.abc import Callable, Mapping

from bench.quality.metric import Conditions, ImageMeasure, Pair, Values
from bench.quality.streamed_losses import (
    Comparison,
    Statistics,
    StreamedLosses,
    adain_losses,
    gram_losses,
)

_STYLES_KEPT = 16
"""Styles whose statistics are kept, 5 MB each: a style comes again with another content."""


class _Reference:
    """The reference network, and what was computed on it."""

    def __init__(self, conditions: Conditions) -> None:
        wanted = set(conditions.settings.metrics)
        self._losses = StreamedLosses(conditions.settings.network, conditions.device)
        self._content = "content_loss" in wanted
        self._statistics = bool(wanted & {"style_loss", "style_loss_adain"})
        self._styles: dict[str, Statistics] = {}

    @classmethod
    def of(cls, conditions: Conditions) -> "_Reference":
        """That of the evaluation."""
        return conditions.once("reference", lambda: cls(conditions))

    def compared(self, pair: Pair) -> Comparison:
        """All that is wanted of the output."""
        return pair.once(
            "reference",
            lambda: self._losses.compare(
                pair.output, pair.content if self._content else None, statistics=self._statistics
            ),
        )

    def style(self, pair: Pair) -> Statistics:
        """Of the pair's style."""
        if pair.style_name not in self._styles:
            if len(self._styles) == _STYLES_KEPT:
                del self._styles[next(iter(self._styles))]
            self._styles[pair.style_name] = self._losses.statistics(pair.style)
        return self._styles[pair.style_name]


def content_loss(conditions: Conditions) -> ImageMeasure:
    """See the catalogue for the definition."""
    reference = _Reference.of(conditions)

    def measure(pair: Pair) -> Values:
        loss = reference.compared(pair).content_loss
        assert loss is not None
        return {"content_loss": loss}

    return measure


def _style_metric(
    name: str, losses: Callable[[Statistics, Statistics], Mapping[str, float]]
) -> Callable[[Conditions], ImageMeasure]:
    """The total and, as ``NAME_LAYER``, each layer's; see the catalogue for the definition."""

    def prepare(conditions: Conditions) -> ImageMeasure:
        reference = _Reference.of(conditions)

        def measure(pair: Pair) -> Values:
            layers = losses(reference.compared(pair).statistics, reference.style(pair))
            each = {f"{name}_{layer}": loss for layer, loss in layers.items()}
            return {name: sum(layers.values())} | each

        return measure

    return prepare


style_loss = _style_metric("style_loss", gram_losses)
style_loss_adain = _style_metric("style_loss_adain", adain_losses)
