"""A cascade run plainly, as public code does: what the fast form is checked and timed against.

Images NCHW in float32; every layer a call of its own, on padded and upsampled copies; nothing
folded or fused; each transform applied to all pixels, whitening in float64.
"""

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from distill.cascades import CascadeNetworks
from distill.models import Method
from distill.networks import pad_to_alignment
from distill.transforms import ADAIN_EPSILON, WHITENING_CUTOFF


@torch.inference_mode()
def plain_stylize(
    networks: CascadeNetworks, method: Method, content: Tensor, style: Tensor, alpha: float = 1.0
) -> Tensor:
    """The content in the style.

    Args:
        networks: encoder and decoder of each stage, in the order they run.
        method: ``wct`` or ``adain``.
        content: (1, 3, H, W), RGB in 0..1.
        style: (1, 3, H', W'), RGB in 0..1.
        alpha: 0 (the content as the networks rebuild it) to 1 (the full style).

    Returns:
        (1, 3, H, W), RGB in 0..1.
    """
    height, width = content.shape[-2:]
    image, style = pad_to_alignment(content), pad_to_alignment(style)
    for pair in networks.pairs:
        features = pair.encoder(image)
        theirs = pair.encoder(style)
        if method == "wct":
            matched = plain_whiten_color(features, theirs, pair.ridge)
        else:
            matched = plain_adain(features, theirs)
        image = pair.decoder(alpha * matched + (1 - alpha) * features)
    return image[..., :height, :width].clamp(0, 1)


def plain_whiten_color(content: Tensor, style: Tensor, ridge: float = 0.0) -> Tensor:
    """Whitening and colouring (Li et al. 2017) of features (1, C, H, W), over all pixels."""
    pixels, style_pixels = content[0].flatten(1).double(), style[0].flatten(1).double()
    style_mean = style_pixels.mean(1, keepdim=True)
    white = _power(torch.cov(pixels), -0.5, ridge) @ (pixels - pixels.mean(1, keepdim=True))
    colored = _power(torch.cov(style_pixels), 0.5, ridge) @ white + style_mean
    return colored.view_as(content).to(content.dtype)


def _power(covariance: Tensor, exponent: float, ridge: float) -> Tensor:
    covariance = covariance + ridge * covariance.trace() / len(covariance) * torch.eye(
        len(covariance)
    )
    vectors, values, _ = torch.linalg.svd(covariance)
    kept = values > WHITENING_CUTOFF
    vectors = vectors[:, kept]
    power: Tensor = vectors @ (values[kept] ** exponent).diag() @ vectors.T
    return power


def plain_adain(content: Tensor, style: Tensor) -> Tensor:
    """Adaptive instance normalisation (Huang and Belongie 2017) of features (1, C, H, W)."""
    mean, deviation = _moments(content)
    style_mean, style_deviation = _moments(style)
    return (content - mean) / deviation * style_deviation + style_mean


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    variance, mean = torch.var_mean(features, dim=(2, 3), keepdim=True)
    return mean, (variance + ADAIN_EPSILON).sqrt()


def psnr(first: npt.NDArray[np.uint8], second: npt.NDArray[np.uint8]) -> float:
    """Peak signal-to-noise ratio of 8-bit images in dB; infinite for equal ones."""
    error = np.mean((first.astype(np.float64) - second) ** 2)
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))
