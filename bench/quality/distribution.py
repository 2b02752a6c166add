"""Sets of outputs against sets of styles: FID, KID and their relatives.

    results = evaluate_sets("outputs", "styles", metrics=["kid", "kd_vgg"], device="cpu")

What each metric is stands in :mod:`bench.quality.set_metrics` and ``docs/quality.md``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import zip_longest
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from bench.errors import UserError
from bench.quality.feature_distances import (
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from bench.quality.set_images import ImageSet, batches, read_set
from bench.quality.set_metrics import NETWORKS, SET_METRICS, Network, SetMetric
from bench.quality.set_networks import SetNetwork, load_network
from bench.quality.tiles import tiled_mean
from distill.perceptual import LEAST_SIDE, Lpips
from distill.suggest import did_you_mean

FRECHET_IMAGES_PER_DIMENSION = 5
"""Below this many the bias, which falls with 1/n, is warned of: 10,240 images for Inception's 2048
features, about the 10,000 that are asked for in practice."""
KERNEL_IMAGES = 30
SCORE_IMAGES = 5_000
NEIGHBOUR_IMAGES = 1_000
"""Below these many images a metric is computed, with a warning."""


@dataclass(frozen=True)
class SetResult:
    """A metric of two sets, or why there is none, with what it was computed of."""

    value: float | None
    low: float | None
    high: float | None
    """The 95 % interval, where the metric has one."""
    definition: str
    warning: str | None = None
    """What limits the value: small sets, coarse resizing."""
    absent: str | None = None
    """Why there is no value."""
    network: str | None = None
    """The weights."""
    outputs: int | None = None
    styles: int | None = None
    """Images in each set."""
    resolution: str | None = None
    """Pixels of the images as they came and as the network saw them."""
    subset_size: int | None = None
    """Of a kernel distance."""
    subsets: int | None = None
    """Of a kernel distance; splits of an inception score."""


@dataclass(frozen=True)
class SetFeatures:
    """The features of a set by one network.

    Rows lie in the order of the images' digests: a set has no order, and what is drawn from it by
    a seed must not depend on one.
    """

    distances: Tensor
    """float32 (N, D)."""
    scores: Tensor | None
    """float32 (N, classes), of a network with classes."""
    smallest: tuple[int, int]
    largest: tuple[int, int]
    """Width and height of the images with the fewest and the most pixels."""

    def __len__(self) -> int:
        return len(self.distances)


def evaluate_sets(
    outputs: ImageSet,
    styles: ImageSet,
    *,
    metrics: Sequence[str] = ("fid", "kid", "fd_vgg", "kd_vgg"),
    device: str = "cpu",
    contents: ImageSet | None = None,
    lpips: Sequence[float] | None = None,
    inception: str = "cache",
    lpips_backbone: str = "cache",
    side: int | None = None,
    batch_size: int = 16,
) -> dict[str, SetResult]:
    """Metrics of a set of stylised images, and of the styles that they should look like.

    Every image is read once, whatever the number of metrics.

    Args:
        outputs: the stylised images; see :data:`bench.quality.set_images.ImageSet`.
        styles: each style once.
        metrics: names in :data:`bench.quality.set_metrics.SET_METRICS`.
        device: where networks run.
        contents: the content of each output, in the outputs' order, of the output's size; for
            ``artfid_inception`` and ``art_fd_vgg``, unless ``lpips`` is given.
        lpips: LPIPS of output and content, of each output, where they are known already.
        inception: Inception's weights: ``cache``, ``download`` or a path; see
            :func:`bench.quality.set_networks.load_network`.
        lpips_backbone: as :class:`distill.perceptual.Lpips` takes it.
        side: bring every image to this many pixels a side first, with antialiasing; None leaves
            that to the networks (Inception's own is without, as in published FIDs).
        batch_size: most images of one size that a network sees at once.

    Returns:
        A result for each metric, in their order. What cannot be had (weights, too few images) is
        a result without a value, ``absent`` saying why.

    Raises:
        UserError: for an unknown metric, images that cannot be read, or contents that do not fit
            the outputs.
        ValueError: for tensors that are no images, or as many ``lpips`` as there are not outputs.
    """
    wanted = [_known(name) for name in metrics]
    absent: dict[str, str] = {}
    networks: dict[Network, SetNetwork] = {}
    for network in dict.fromkeys(metric.network for metric in wanted):
        try:
            networks[network] = load_network(network, device=device, inception=inception)
        except UserError as error:
            absent |= {m.name: str(error) for m in wanted if m.network == network}
    values = list(lpips or ())
    stream = read_set(outputs, "outputs", side=side)
    if lpips is None and any(m.needs_content and m.name not in absent for m in wanted):
        try:
            if contents is None:
                raise UserError("LPIPS to the contents enters, and neither it nor they were given")
            measure = Lpips(lpips_backbone, device)
        except UserError as error:
            absent |= {m.name: str(error) for m in wanted if m.needs_content}
        else:
            others = read_set(contents, "contents", side=side)
            stream = _with_lpips(stream, others, measure, device, values)
    left = [metric for metric in wanted if metric.name not in absent]
    needed = {name: networks[name] for name in dict.fromkeys(m.network for m in left)}
    found = extract(stream, needed, batch_size=batch_size) if left else {}
    compared = {m.network: networks[m.network] for m in left if m.needs_styles}
    reference: dict[Network, SetFeatures] = (
        extract(read_set(styles, "styles", side=side), compared, batch_size=batch_size)
        if compared
        else {}
    )
    if lpips is not None and any(len(lpips) != len(of) for of in found.values()):
        raise ValueError(f"{len(lpips)} values of LPIPS do not go with the outputs")
    return {
        metric.name: _absent(metric, absent[metric.name])
        if metric.name in absent
        else compute(
            metric,
            found[metric.network],
            reference.get(metric.network),
            lpips=fmean(values) if metric.needs_content else None,
        )
        for metric in wanted
    }


def extract(
    images: Iterable[Tensor], networks: Mapping[Network, SetNetwork], *, batch_size: int = 16
) -> dict[Network, SetFeatures]:
    """The features of a set by each network, in one pass over uint8 images (3, H, W), RGB.

    Raises:
        UserError: for no images at all.
    """
    digests: list[bytes] = []
    sizes: list[tuple[int, int]] = []
    rows: dict[tuple[Network, str], list[Tensor]] = {}
    for batch in batches(images, batch_size):
        for image in batch:
            digests.append(blake2b(image.contiguous().numpy(force=True)).digest())
            sizes.append((image.shape[-1], image.shape[-2]))
        for name, network in networks.items():
            for layer, features in network.features(batch).items():
                rows.setdefault((name, layer), []).append(features)
    if not digests:
        raise UserError("a set without images cannot be compared")
    order = torch.tensor(sorted(range(len(digests)), key=digests.__getitem__))

    def sorted_rows(name: Network, layer: str) -> Tensor:
        return torch.cat(rows[name, layer])[order]

    return {
        name: SetFeatures(
            sorted_rows(name, network.facts.layer),
            None if network.scores is None else sorted_rows(name, network.scores),
            min(sizes, key=lambda size: size[0] * size[1]),
            max(sizes, key=lambda size: size[0] * size[1]),
        )
        for name, network in networks.items()
    }


def compute(
    metric: SetMetric,
    outputs: SetFeatures,
    styles: SetFeatures | None = None,
    *,
    lpips: float | None = None,
) -> SetResult:
    """One metric of features that were extracted.

    Args:
        metric: of the network that the features are of.
        outputs: features of the outputs.
        styles: features of the styles; not looked at by the inception score.
        lpips: mean LPIPS of outputs and contents, where the metric needs it.

    Raises:
        ValueError: when what the metric needs is not given.
    """
    sets = [outputs, styles] if styles is not None and metric.needs_styles else [outputs]
    if len(sets) == 1 and metric.needs_styles:
        raise ValueError(f"{metric.name} compares with the styles' features")
    facts = NETWORKS[metric.network]
    seen: dict[str, Any] = {
        "definition": metric.definition,
        "network": facts.weights,
        "outputs": len(outputs),
        "styles": len(styles) if styles is not None and metric.needs_styles else None,
        "resolution": f"{_sizes(sets)}, judged at {facts.side}x{facts.side}",
        "warning": "; ".join(_warnings(metric, sets)) or None,
    }
    fewest = min(len(of) for of in sets)
    if fewest < metric.least:
        reason = f"{metric.name} needs at least {metric.least} images in each set, not {fewest}"
        return SetResult(None, None, None, **(seen | {"absent": reason, "warning": None}))
    if metric.kind == "inception_score":
        if outputs.scores is None:
            raise ValueError(f"{metric.name} needs a network with classes")
        value, low, high, splits = inception_score(outputs.scores)
        return SetResult(value, low, high, **seen, subsets=splits)
    assert styles is not None
    if metric.kind == "kernel":
        kernel = kernel_distance(outputs.distances, styles.distances)
        return SetResult(
            kernel.value,
            kernel.low,
            kernel.high,
            **seen,
            subset_size=kernel.subset_size,
            subsets=kernel.subsets,
        )
    if metric.kind in ("precision", "recall"):
        precision, recall = precision_recall(outputs.distances, styles.distances)
        return SetResult(precision if metric.kind == "precision" else recall, None, None, **seen)
    distance = frechet_distance(outputs.distances, styles.distances)
    if metric.kind == "art":
        if lpips is None:
            raise ValueError(f"{metric.name} needs the mean LPIPS of outputs and contents")
        distance = (1 + lpips) * (1 + distance)
    return SetResult(distance, None, None, **seen)


def content_lpips(output: Tensor, content: Tensor, network: Lpips, device: str) -> float:
    """LPIPS of two uint8 images (3, H, W), RGB; of large ones the mean over tiles.

    Raises:
        UserError: for images of unlike or too small sizes.
    """
    if output.shape != content.shape:
        sizes = [f"{image.shape[-1]}x{image.shape[-2]}" for image in (output, content)]
        raise UserError(
            f"LPIPS compares images of one size; the output is {sizes[0]}, its content {sizes[1]}"
        )
    if min(output.shape[-2:]) < LEAST_SIDE:
        raise UserError(f"LPIPS needs images of at least {LEAST_SIDE} px a side")
    first, second = (image.to(device).float().div_(255)[None] for image in (output, content))
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
        return tiled_mean(network, first, second)


def _known(name: str) -> SetMetric:
    if name not in SET_METRICS:
        allowed = ", ".join(SET_METRICS)
        raise UserError(
            f"set metric {name!r} is not known; there are {allowed}"
            f"{did_you_mean(name, SET_METRICS)}"
        )
    return SET_METRICS[name]


def _absent(metric: SetMetric, reason: str) -> SetResult:
    return SetResult(
        None,
        None,
        None,
        metric.definition,
        absent=reason,
        network=NETWORKS[metric.network].weights,
    )


def _with_lpips(
    outputs: Iterator[Tensor],
    contents: Iterator[Tensor],
    measure: Lpips,
    device: str,
    values: list[float],
) -> Iterator[Tensor]:
    """The outputs as they come, their LPIPS to the contents added to ``values``."""
    for place, (output, content) in enumerate(zip_longest(outputs, contents), start=1):
        if output is None or content is None:
            which = "contents than outputs" if output is None else "outputs than contents"
            raise UserError(f"there are more {which}: each output needs its content, in order")
        try:
            values.append(content_lpips(output, content, measure, device))
        except UserError as error:
            raise UserError(f"output {place}: {error}") from None
        yield output


def _sizes(sets: Iterable[SetFeatures]) -> str:
    sets = list(sets)
    small = min((of.smallest for of in sets), key=lambda size: size[0] * size[1])
    large = max((of.largest for of in sets), key=lambda size: size[0] * size[1])
    texts = dict.fromkeys(f"{width}x{height}" for width, height in (small, large))
    return "images of " + " to ".join(texts)


def _warnings(metric: SetMetric, sets: Sequence[SetFeatures]) -> Iterator[str]:
    facts = NETWORKS[metric.network]
    n = min(len(of) for of in sets)
    images = f"{n} images"
    if metric.kind in ("frechet", "art"):
        kernel = "kid" if metric.network == "inception" else "kd_vgg"
        enough = FRECHET_IMAGES_PER_DIMENSION * facts.dimension
        if n <= facts.dimension:
            yield (
                f"{images} for {facts.dimension} features: the covariance has rank {n - 1} at "
                "most and the value is mostly bias, the larger the fewer images; compare at equal "
                f"sizes only, and prefer {kernel} with its interval"
            )
        elif n < enough:
            yield (
                f"{images}, fewer than {enough}: the value is biased upwards; compare at equal "
                f"sizes only, or take {kernel}"
            )
    elif metric.kind == "kernel" and n < KERNEL_IMAGES:
        yield f"{images}, fewer than {KERNEL_IMAGES}: the interval itself is a rough one"
    elif metric.kind == "inception_score" and n < SCORE_IMAGES:
        yield f"{images}, fewer than {SCORE_IMAGES}: the score falls with the number of images"
    elif metric.kind in ("precision", "recall") and n < NEIGHBOUR_IMAGES:
        yield f"{images}, fewer than {NEIGHBOUR_IMAGES}: compare at equal sizes only"
    widest = max(max(of.largest) for of in sets)
    if not facts.antialiased and widest > 2 * facts.side:
        yield (
            f"images of up to {widest} px a side are sampled at {facts.side} without antialiasing; "
            "bring them to a fixed size first where other sets have other sizes"
        )
