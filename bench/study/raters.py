"""Who the simulated raters of the proxy study are."""

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from bench.errors import UserError
from bench.study.resampling import Numbers

_PARTS = 200
"""Of the distribution of raters; more change no digit that is shown."""
_ALIKE = 1e-3
_LEAST_CONCENTRATION = 0.1
"""Almost every rater looks at one loss alone there; below, nothing changes but rounding errors."""


@dataclass(frozen=True)
class ProxyRaters:
    """The simulated raters. The defaults are choices, not measurements.

    With them, an ordinary picture is preferred to one with 10 % more of both losses in about 54 of
    100 answers; to one with twice the style loss in 70, twice the content loss in 62, both in 80.

    Raises:
        UserError: for a value out of range.
    """

    raters: int = 40
    """How many, from 2."""
    style_weight: float = 0.5
    """Mean of the raters' weight of style, 0 (content alone) to 1 (style alone)."""
    concentration: float = 10.0
    """a + b of the Beta(a, b) that weights are drawn from; their standard deviation is
    ``sqrt(mean * (1 - mean) / (concentration + 1))``, 0.15 by default. From 0.1 up; infinity
    makes all the same."""
    noise: float = 0.4
    """Scale of the logistic decision noise, in units of the cost (logarithms), above 0."""
    questions: int | None = None
    """How many questions each rater is asked, drawn without replacement; None for all."""
    style_floor: float = 0.01
    """fs: added to the style loss over S0, above 0."""
    content_floor: float = 1.0
    """fc: added to the content loss over C0, above 0."""
    style_reference: float | None = None
    """S0: the style loss that counts as ordinary; None for the study's own, the median over its
    methods of their medians over the pictures."""
    content_reference: float | None = None
    """C0: the content loss that counts as ordinary; None for the study's own, likewise."""
    seed: int = 0
    """Of raters, questions and noise; 0 upwards."""

    def __post_init__(self) -> None:
        references = {
            name: value
            for name in ("style_reference", "content_reference")
            if (value := getattr(self, name)) is not None
        }
        checks = {
            "raters": (self.raters >= 2, "from 2 up"),
            "style_weight": (0 <= self.style_weight <= 1, "0 to 1"),
            "concentration": (
                self.concentration >= _LEAST_CONCENTRATION,
                f"from {_LEAST_CONCENTRATION} up",
            ),
            "noise": (0 < self.noise < math.inf, "a finite number above 0"),
            "style_floor": (0 < self.style_floor < math.inf, "a finite number above 0"),
            "content_floor": (0 < self.content_floor < math.inf, "a finite number above 0"),
            "questions": (self.questions is None or self.questions >= 1, "from 1 up, or None"),
            "seed": (self.seed >= 0, "0 or above"),
            **{
                name: (0 < value < math.inf, "a finite number above 0, or None")
                for name, value in references.items()
            },
        }
        if problems := [
            f"proxy raters: {name} is {getattr(self, name)}; allowed: {allowed}"
            for name, (good, allowed) in checks.items()
            if not good
        ]:
            raise UserError(*problems)

    @property
    def style_weight_deviation(self) -> float:
        """Standard deviation of the raters' weights."""
        return math.sqrt(self.style_weight * (1 - self.style_weight) / (self.concentration + 1))

    def draw_weights(self, rng: np.random.Generator) -> Numbers:
        """The weight of style of each rater, (raters,)."""
        if self._alike:
            return np.full(self.raters, self.style_weight)
        return rng.beta(*self._beta, self.raters)

    def quantiles(self) -> Numbers:
        """Weights of style (Q,) that stand for all raters there are, each for as many."""
        if self._alike:
            return np.array([self.style_weight])
        parts = (np.arange(_PARTS) + 0.5) / _PARTS
        weights: Numbers = beta.ppf(parts, *self._beta)
        return weights

    @property
    def _alike(self) -> bool:
        # so close that they cannot be told apart; the Beta distribution degenerates there
        return self.style_weight_deviation < _ALIKE

    @property
    def _beta(self) -> tuple[float, float]:
        return (
            self.style_weight * self.concentration,
            (1 - self.style_weight) * self.concentration,
        )
