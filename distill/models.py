"""Names of models: ``METHOD-FAMILY-RATIOx[:WEIGHTS]``, and what a name stands for."""

import math
import re
from collections.abc import Sequence
from typing import Literal, NamedTuple, get_args

from distill.suggest import nearest

Method = Literal["wct", "adain"]
Family = Literal["vgg16", "vgg19"]

METHODS: tuple[str, ...] = get_args(Method)
FAMILIES: tuple[str, ...] = get_args(Family)
RATIOS: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)


class ModelSpec(NamedTuple):
    """A model as named on the command line and in scenarios."""

    method: Method
    family: Family
    ratio: int
    weights: str | None = None
    """Folder or file with the weights; None for what the suite embeds (or random weights)."""

    def __str__(self) -> str:
        name = f"{self.method}-{self.family}-{self.ratio}x"
        return name if self.weights is None else f"{name}:{self.weights}"

    @property
    def stages(self) -> tuple[int, ...]:
        """Stages in the order they run: WCT from relu5_1 down to relu1_1, AdaIN relu4_1 alone."""
        return (5, 4, 3, 2, 1) if self.method == "wct" else (4,)


def model_names() -> list[str]:
    """Every name without a weights part."""
    return [f"{m}-{f}-{r}x" for m in METHODS for f in FAMILIES for r in RATIOS]


def parse_model(text: object) -> ModelSpec:
    """Parse ``METHOD-FAMILY-RATIOx[:WEIGHTS]``.

    Raises:
        ValueError: what is allowed, with the nearest right name.
    """
    allowed = (
        f"a model is METHOD-FAMILY-RATIOx[:WEIGHTS] with METHOD {' or '.join(METHODS)}, "
        f"FAMILY {' or '.join(FAMILIES)}, RATIO one of {', '.join(map(str, RATIOS))}"
    )
    if not isinstance(text, str):
        raise ValueError(f"{allowed}; got {text!r}")
    name, colon, weights = text.strip().partition(":")
    if name not in model_names():
        near = _nearest(name)
        hint = f"; did you mean '{near}{colon}{weights}'?" if near else ""
        raise ValueError(f"{allowed}; got {text!r}{hint}")
    if colon and not weights:
        raise ValueError(f"a path of weights is missing after the colon of {text!r}")
    method, family, ratio = name.split("-")
    return ModelSpec(method, family, int(ratio[:-1]), weights or None)  # type: ignore[arg-type]


def _nearest(name: str) -> str | None:
    """The likeliest right name; a wrong ratio becomes the one nearest to it by factor."""
    if match := re.fullmatch(r"(.+-)(\d{1,9})x?", name):
        ratio = min(RATIOS, key=lambda r: abs(math.log(r) - math.log(max(1, int(match[2])))))
        name = f"{match[1]}{ratio}x"
    return nearest(name, model_names())


def short_names(models: Sequence[str]) -> dict[str, str]:
    """Model names with the folders of a ``:PATH`` suffix left out, as far as they stay distinct.

    ``wct-vgg19-16x:/a/b/weights`` becomes ``wct-vgg19-16x:weights``, or ``...:b/weights`` where
    another model of ``models`` would have the same short name.
    """
    names: dict[str, str] = {}
    for model in dict.fromkeys(models):
        others = [other for other in models if other != model]
        depth = 1
        while _tail(model, depth) != model and any(
            _tail(model, depth) == _tail(other, depth) for other in others
        ):
            depth += 1
        names[model] = _tail(model, depth)
    return names


def _tail(model: str, depth: int) -> str:
    stem, colon, path = model.partition(":")
    parts = [part for part in path.replace("\\", "/").split("/") if part]
    if not colon or not parts or len(parts) < depth:
        return model
    return f"{stem}:{'/'.join(parts[-depth:])}"
