"""The project's own metrics of an image: what each is defined as. Imports no PyTorch."""

import pkgutil
from collections.abc import Callable
from typing import Any

from bench.quality.metric import Better, Conditions, Metric, Need, Values

_CONTENT: frozenset[Need] = frozenset({"content"})
_STYLE: frozenset[Need] = frozenset({"style"})
_TEACHER: frozenset[Need] = frozenset({"content", "style", "teacher"})

_ALIGNED = "sides continued by reflection to multiples of 16"
_WHICH_TEACHER = "the teacher is the same method and family at ratio 1, or quality.teacher, float32"
_LPIPS = "LPIPS 0.1 (Zhang et al. 2018), torchvision's {alexnet} with the authors' linear heads"
_TILED = (
    "above 4.2 MP the mean over tiles of at most 1024 px a side that do not overlap, weighted by "
    "pixels, each padded with zeros like an image of its own"
)
_BANDED = "in bands that overlap by the window, which gives the whole image's value at any size"


def lazily(path: str) -> Callable[[Conditions], Callable[[Any], Values]]:
    """The function ``module:name``, imported when it is called: listing metrics loads no PyTorch"""

    def prepare(conditions: Conditions) -> Callable[[Any], Values]:
        measure: Callable[[Any], Values] = pkgutil.resolve_name(path)(conditions)
        return measure

    return prepare


def _metric(
    path: str, better: Better, needs: frozenset[Need], *definition: str, unit: str = ""
) -> Metric:
    name = path.partition(":")[2]
    prepare = lazily(f"bench.quality.{path}")
    return Metric(name, better, unit, "image", needs, "; ".join(definition), prepare)


IMAGE_METRICS: tuple[Metric, ...] = (
    _metric(
        "loss_metrics:content_loss",
        "lower",
        _CONTENT,
        "mean squared difference of {network} features at relu4_1 of output and content, over "
        "channels and positions (Johnson et al. 2016, layer of Huang and Belongie 2017)",
        _ALIGNED,
    ),
    _metric(
        "loss_metrics:style_loss",
        "lower",
        _STYLE,
        "mean squared difference of the Gram matrices of {network} features of output and style, "
        "each over C*H*W (Wang et al. 2020), summed over relu1_1, relu2_1, relu3_1, relu4_1 and "
        "relu5_1",
        _ALIGNED,
    ),
    _metric(
        "loss_metrics:style_loss_adain",
        "lower",
        _STYLE,
        "mean squared difference of channel means plus that of channel deviations (root of "
        "variance over H*W + 1e-5) of {network} features of output and style, summed over relu1_1, "
        "relu2_1, relu3_1 and relu4_1 (Huang and Belongie 2017, eq. 13, with mean squares for "
        "norms as in public code)",
        _ALIGNED,
    ),
    _metric("perceptual:lpips", "lower", _CONTENT, _LPIPS, "output and content", _TILED),
    _metric(
        "perceptual:lpips_teacher",
        "lower",
        _TEACHER,
        _LPIPS,
        "output and teacher's output",
        _WHICH_TEACHER,
        _TILED,
    ),
    _metric(
        "similarity:ssim",
        "higher",
        _CONTENT,
        "SSIM (Wang et al. 2004) of output and content by torchmetrics: Gaussian window of 11 px, "
        "deviation 1.5, K 0.01 and 0.03, range 1, borders reflected, mean over positions and RGB",
        _BANDED,
    ),
    _metric(
        "similarity:ms_ssim",
        "higher",
        _CONTENT,
        "MS-SSIM (Wang et al. 2003) of output and content as by torchmetrics: five scales by 2x2 "
        "means, the authors' exponents, negative terms cut at 0, window as of ssim",
        _BANDED,
    ),
    _metric(
        "similarity:psnr_teacher",
        "higher",
        _TEACHER,
        "peak signal-to-noise ratio of output and teacher's output, peak 1, mean squared error "
        "over positions and RGB",
        _WHICH_TEACHER,
        unit="dB",
    ),
)
