"""LPIPS (Zhang et al. 2018) by its authors' package, with AlexNet."""

import re
import warnings
from importlib.resources import as_file, files
from pathlib import Path

import torch
from torch import Tensor

from distill.errors import UserError
from distill.files import is_visible_file
from distill.weights import download, read_checked, read_tensors, torchvision_file

BACKBONE = "AlexNet_Weights.IMAGENET1K_V1"
EMBEDDED = "alexnet-lpips.safetensors"
"""Its feature layers among the package's assets, made by :mod:`distill.convert_alexnet`."""
EMBEDDED_SHA256 = "53b0655ae83e4a8b575f600ae9b8b684e88ed3e4f8b74e3694ffc766a8875120"
EMBEDDED_ABOUT = "embedded, float16 and int8"
"""How records name that backbone: values differ from the float32 file's by less than 0.001."""
LEAST_SIDE = 64
"""Pixels: AlexNet's pooling leaves nothing of much smaller images."""


class Lpips:
    """LPIPS of pairs of images.

    The package brings the linear heads; the AlexNet features below them come from elsewhere.

    Args:
        backbone: ``cache`` (torch's cache, and where that has none the embedded copy; no network),
            ``embedded``, ``download``, or the path of a file with torchvision's
            ``features.N.weight`` and ``.bias``.
        device: where to compute.

    Raises:
        UserError: when the backbone cannot be had; the message is the reason to record.
    """

    def __init__(self, backbone: str, device: str) -> None:
        self.backbone, tensors = _backbone_tensors(backbone)
        """Where the features came from: ``cache``, ``download``, a file, or what
        :data:`EMBEDDED_ABOUT` says."""
        with warnings.catch_warnings():  # torchvision's, about how the package calls it
            warnings.simplefilter("ignore")
            import lpips

            self._network = lpips.LPIPS(net="alex", pnet_rand=True, verbose=False)
        _fill(self._network.net, tensors, self.backbone)
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


def cached_backbone() -> Path | None:
    """AlexNet's file in torch's cache; None where there is none, or where nobody may look."""
    path = torchvision_file(BACKBONE)[1]
    return path if is_visible_file(path) else None


def _backbone_tensors(backbone: str) -> tuple[str, dict[str, Tensor]]:
    """Where the features were found, and their tensors."""
    if backbone == "embedded" or (backbone == "cache" and cached_backbone() is None):
        with as_file(files("distill") / "assets" / EMBEDDED) as path:
            return EMBEDDED_ABOUT, read_checked(path, EMBEDDED_SHA256)
    if backbone in ("cache", "download"):
        return backbone, download(BACKBONE)
    return backbone, read_tensors(Path(backbone))[0]


def _fill(network: torch.nn.Module, tensors: dict[str, Tensor], backbone: str) -> None:
    state = network.state_dict()
    for key in state:
        # The package's slice3.6.weight is torchvision's features.6.weight.
        name = re.sub(r"^slice\d+\.", "features.", key)
        # The embedded file holds one layer as a matrix of kernels.
        tensor = tensors.get(name)
        if tensor is not None and backbone == EMBEDDED_ABOUT:
            tensor = tensor.view_as(state[key])
        if tensor is None or tensor.shape != state[key].shape:
            raise UserError(f"{backbone}: holds no {name} of shape {tuple(state[key].shape)}")
        state[key] = tensor.float()
    network.load_state_dict(state)
