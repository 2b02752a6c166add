"""LPIPS (Zhang et al. 2018) by its authors' package, with AlexNet."""

import re
import warnings
from pathlib import Path

import torch
from torch import Tensor

from distill.errors import UserError
from distill.weights import download, read_tensors, torchvision_file

BACKBONE = "AlexNet_Weights.IMAGENET1K_V1"
LEAST_SIDE = 64
"""Pixels: AlexNet's pooling leaves nothing of much smaller images."""


class Lpips:
    """LPIPS of pairs of images.

    The package brings the linear heads; the AlexNet features below them must come from elsewhere.

    Args:
        backbone: ``cache`` (torch's cache, no network), ``download``, or the path of a file with
            torchvision's ``features.N.weight`` and ``.bias``.
        device: where to compute.

    Raises:
        UserError: when the backbone cannot be had; the message is the reason to record.
    """

    def __init__(self, backbone: str, device: str) -> None:
        tensors = _backbone_tensors(backbone)
        with warnings.catch_warnings():  # torchvision's, about how the package calls it
            warnings.simplefilter("ignore")
            import lpips

            self._network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        _fill(self._network.net, tensors, backbone)
        self._network.requires_grad_(False).to(device)

    @torch.inference_mode()
    def __call__(self, first: Tensor, second: Tensor) -> float:
        """LPIPS, 0 (same) upwards, of two images (1, 3, H, W), RGB in 0..1, of one size.

        Raises:
            ValueError: for values outside 0..1 (or that are no numbers): the network wants -1..1,
                and this class scales.
        """
        for image in (first, second):
            if not (image.min() >= 0 and image.max() <= 1):
                raise ValueError("LPIPS takes images in 0..1 here; these lie outside")
        return float(self._network(first, second, normalize=True).item())


def _backbone_tensors(backbone: str) -> dict[str, Tensor]:
    if backbone == "download":
        return download(BACKBONE)
    if backbone != "cache":
        return read_tensors(Path(backbone))[0]
    path = torchvision_file(BACKBONE)[1]
    if not path.is_file():
        raise UserError(
            f"LPIPS needs AlexNet's features, and torch's cache has no {path.name}; set "
            "quality.lpips_backbone (of a scenario) or --lpips-backbone to a file with them, or to "
            "'download'"
        )
    return download(BACKBONE)


def _fill(network: torch.nn.Module, tensors: dict[str, Tensor], backbone: str) -> None:
    state = network.state_dict()
    for key in state:
        # The package's slice3.6.weight is torchvision's features.6.weight.
        name = re.sub(r"^slice\d+\.", "features.", key)
        if name not in tensors or tensors[name].shape != state[key].shape:
            raise UserError(f"{backbone}: holds no {name} of shape {tuple(state[key].shape)}")
        state[key] = tensors[name].float()
    network.load_state_dict(state)
