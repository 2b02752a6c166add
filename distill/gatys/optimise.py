"""Style transfer by optimisation (Gatys, Ecker and Bethge, CVPR 2016), on a network of any width.

The pixels are optimised by L-BFGS so that

- content: the features at ``relu4_1`` are those of the content image, by mean squared difference;
- style: the Gram matrices at ``relu1_1`` .. ``relu5_1`` are those of the style image, by mean
  squared difference, summed over the layers.

Gram matrices are F F^T / (C * H * W), as in Wang et al. 2020 and in this project's quality metrics.
Gatys's own code divides by H * W and weights a layer of C channels by 1000 / C^2 against content
1: the same thing as one weight of 1000 for all layers here, which is the default. So for the
teacher the loss is ``content loss + 1000 * style loss`` of the metrics. For a student, each layer's
style term is multiplied by (C / teacher's C)^2, without which narrow layers would weigh more.

What differs from the paper: content at ``relu4_1`` instead of ``conv4_2``, because students are
cut there; max-pooling instead of average-pooling; and pixels are kept in 0..1 during optimisation
instead of being clipped after it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from distill.errors import UserError
from distill.gatys.loss_network import LossNetwork, width_factor
from distill.reference_losses import CONTENT_LAYER, STYLE_LAYERS, gram
from distill.training.losses import mse

Init = Literal["content", "noise"]

HISTORY = 20
"""Corrections that L-BFGS keeps, each two images large; more were no better in 100 steps."""
PULL = 100.0
"""Weight of the mean squared excess of pixels beyond 0..1, where the loss at the start is 1."""


@dataclass(frozen=True)
class Layers:
    """Where images are compared."""

    content: tuple[str, ...] = (CONTENT_LAYER,)
    style: tuple[str, ...] = STYLE_LAYERS

    @classmethod
    def of(cls, network: LossNetwork) -> "Layers":
        """The usual layers, as far as a network goes."""
        usual, there = cls(), set(network.layers)
        content, style = (
            tuple(name for name in names if name in there) for names in (usual.content, usual.style)
        )
        return cls(content or network.layers[-1:], style)


@dataclass(frozen=True)
class Weights:
    """What each term of the loss counts; 0 leaves it out."""

    content: float = 1.0
    style: float = 1000.0
    total_variation: float = 0.0
    """Of the mean squared difference of neighbouring pixels, both directions added (Mahendran and
    Vedaldi 2015, with exponent 2)."""

    def __post_init__(self) -> None:
        values = {
            "content": self.content,
            "style": self.style,
            "total variation": self.total_variation,
        }
        wrong = [
            f"{name} weight: must be a finite number from 0 up; got {value}"
            for name, value in values.items()
            if not 0 <= value < math.inf
        ]
        if not wrong and self.content == 0 == self.style:
            wrong = ["content and style weight are both 0: there is nothing to optimise"]
        if wrong:
            raise UserError(*wrong)


@dataclass(frozen=True)
class Losses:
    """The weighted terms of the loss at one image."""

    content: float
    style: float
    total_variation: float

    @property
    def total(self) -> float:
        """Their sum: what is minimised."""
        return self.content + self.style + self.total_variation


@dataclass(frozen=True)
class Result:
    """What came of an optimisation."""

    image: Tensor
    """(1, 3, H, W), RGB in 0..1, float32, on the device of the content image."""
    curve: tuple[Losses, ...]
    """The losses at the start and after each step: one more than there were steps."""
    evaluations: int
    """How often loss and gradient were computed; a step's line search takes one or more."""


Report = Callable[[int, Losses], None]
"""Told the number of steps done, and the losses then."""


def optimise(
    content: Tensor,
    style: Tensor,
    network: LossNetwork,
    *,
    layers: Layers | None = None,
    weights: Weights | None = None,
    steps: int = 300,
    init: Init = "content",
    seed: int = 0,
    history: int = HISTORY,
    report: Report | None = None,
) -> Result:
    """Paint the content image in the style of another, by L-BFGS on its pixels.

    Ends early only where no step makes the loss smaller. On a CPU the result is the same for the
    same arguments and number of threads; on CUDA, gradients of padding and pooling add up in
    varying order, so that results differ slightly.

    Args:
        content: (1, 3, H, W), RGB in 0..1, float32, on the network's device.
        style: the same, of any size.
        network: what compares them.
        layers: where; None for the usual ones that the network has.
        weights: of the terms; None for the defaults.
        steps: iterations of L-BFGS, from 1 up.
        init: start from the content image, or from noise (uniform in 0..1).
        seed: of the noise.
        history: corrections that L-BFGS keeps.
        report: called before the first and after each step.

    Raises:
        UserError: for images, layers or numbers that cannot be used, and when the loss is not a
            finite number.
    """
    layers = layers or Layers.of(network)
    _check(content, style, network, layers, steps, init)
    objective = _Objective(content, style, network, layers, weights or Weights())
    start = content if init == "content" else _noise(content, seed)
    pixels = start.detach().clone(memory_format=torch.contiguous_format).requires_grad_()
    # Tolerances are absolute and the gradient of a mean over pixels is tiny: they would stop early.
    optimiser = torch.optim.LBFGS(
        [pixels],
        max_iter=1,
        max_eval=1 << 30,
        history_size=history,
        tolerance_grad=0,
        tolerance_change=0,
        line_search_fn="strong_wolfe",
    )
    closure = _Closure(objective, pixels)
    curve = [closure.losses]
    if report:
        report(0, curve[0])
    for step in range(1, steps + 1):
        before = pixels.detach().clone()
        optimiser.step(closure)  # type: ignore[no-untyped-call]
        if torch.equal(before, pixels):
            break
        closure()
        curve.append(closure.losses)
        if report:
            report(step, curve[-1])
    image = pixels.detach().clamp(0, 1)
    return Result(image, tuple(curve), closure.evaluations)


def _noise(content: Tensor, seed: int) -> Tensor:
    # Drawn on the CPU, so that every device starts from the same.
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(content.shape, generator=generator).to(content)


class _Objective:
    """The loss as a function of the image."""

    def __init__(
        self,
        content: Tensor,
        style: Tensor,
        network: LossNetwork,
        layers: Layers,
        weights: Weights,
    ) -> None:
        self.network, self.weights = network, weights
        self.content_layers: Sequence[str] = layers.content if weights.content else ()
        self.style_layers: Sequence[str] = layers.style if weights.style else ()
        self.layers = list(dict.fromkeys((*self.content_layers, *self.style_layers)))
        with torch.no_grad():
            self.content = network.features(content, self.content_layers)
            self.grams = _grams(network.features(style, self.style_layers))

    def terms(self, image: Tensor) -> Tensor:
        """Weighted content, style and total-variation loss of an image (1, 3, H, W): (3,)."""
        found = self.network.features(image, self.layers)
        terms = image.new_zeros(3)
        for name in self.content_layers:
            terms[0] += self.weights.content * mse(found[name], self.content[name])
        for name, matrix in _grams({name: found[name] for name in self.style_layers}).items():
            factor = self.weights.style * width_factor(name, len(matrix))
            terms[1] += factor * mse(matrix, self.grams[name])
        if self.weights.total_variation:
            terms[2] += self.weights.total_variation * _total_variation(image)
        return terms


def _grams(features: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: gram(x) for name, x in features.items()}


def _total_variation(image: Tensor) -> Tensor:
    return sum(  # type: ignore[return-value]
        image.diff(dim=dim).square().mean() for dim in (-2, -1) if image.shape[dim] > 1
    )


class _Closure:
    """Loss and gradient for L-BFGS, which asks again for the point where its last step ended.

    What it sees is 1 at the start, because some thresholds inside it are absolute. Pixels are
    unbounded variables: the loss is that of the image they make when clamped to 0..1, plus a pull
    back for what lies beyond. Both are functions that L-BFGS can trust, which clipping
    the pixels behind its back is not; the loss reached is within some percent of a bounded
    L-BFGS-B's.
    """

    def __init__(self, objective: _Objective, pixels: Tensor) -> None:
        self.objective, self.pixels = objective, pixels
        self.evaluations = 0
        self._at, self._unit = pixels.detach().clone(), 1.0
        with torch.no_grad():
            self._unit = objective.terms(pixels).sum().item() or 1.0
        self._evaluate()

    def __call__(self) -> Tensor:
        if not torch.equal(self._at, self.pixels):
            self._at.copy_(self.pixels.detach())
            self._evaluate()
        self.pixels.grad = self._gradient
        return self._value

    def _evaluate(self) -> None:
        self.evaluations += 1
        with torch.enable_grad():
            image = self.pixels.clamp(0, 1)
            terms = self.objective.terms(image)
            value = terms.sum() / self._unit + PULL * (self.pixels - image).square().mean()
            (self._gradient,) = torch.autograd.grad(value, self.pixels)
        self._value = value.detach()
        self.losses = Losses(*terms.tolist())
        if not math.isfinite(self._value.item()) or not bool(self._gradient.isfinite().all()):
            raise UserError(_not_finite(self.losses, self.evaluations))


def _not_finite(losses: Losses, evaluations: int) -> str:
    return (
        f"the loss or its gradient is not a finite number at evaluation {evaluations} (content "
        f"{losses.content:.4g}, style {losses.style:.4g}, total variation "
        f"{losses.total_variation:.4g}): lower the weights, or check the loss network's file"
    )


def _check(
    content: Tensor,
    style: Tensor,
    network: LossNetwork,
    layers: Layers,
    steps: int,
    init: str,
) -> None:
    problems = []
    for role, image in (("content", content), ("style", style)):
        if image.dim() != 4 or image.shape[:2] != (1, 3) or image.numel() == 0:
            problems.append(f"{role} image: must be (1, 3, H, W); got {tuple(image.shape)}")
        elif not bool((torch.stack(torch.aminmax(image)) - 0.5).abs().le(0.5).all()):
            problems.append(f"{role} image: values must be finite and in 0..1")
    for name in dict.fromkeys((*layers.content, *layers.style)):
        if name not in network.layers:
            there = ", ".join(network.layers)
            problems.append(f"layer {name!r}: {network.name} has none such; it has {there}")
    if steps < 1:
        problems.append(f"steps: must be 1 or more; got {steps}")
    if init not in get_args(Init):
        problems.append(f"init: must be {' or '.join(get_args(Init))}; got {init!r}")
    if problems:
        raise UserError(*problems)
