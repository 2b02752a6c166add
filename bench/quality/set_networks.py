"""The networks whose features sets are compared in, made through torch-fidelity's registry."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from bench.errors import UserError
from bench.quality.set_metrics import INCEPTION_WEIGHTS, NETWORKS, Network, NetworkFacts
from distill.files import is_visible_file
from distill.weights import fetch, sha256

INCEPTION_URL = (
    f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{INCEPTION_WEIGHTS}"
)
INCEPTION_DIGEST = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
"""SHA-256 of that file: features of other weights would give numbers that are no FID."""


@dataclass(frozen=True)
class SetNetwork:
    """A feature extractor of torch-fidelity, ready for uint8 images."""

    facts: NetworkFacts
    scores: str | None
    """The layer of the classes, for an inception score."""
    extractor: nn.Module
    device: torch.device

    @torch.inference_mode()
    def features(self, images: Tensor) -> dict[str, Tensor]:
        """Features by layer, float32 (B, D) on the CPU, of uint8 images (B, 3, H, W), RGB.

        Computed in full float32, whatever the device would rather do.
        """
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            found = self.extractor(images.to(self.device))
        named: dict[str, Tensor] = self.extractor.convert_features_tuple_to_dict(found)  # type: ignore[operator]
        return {layer: values.cpu() for layer, values in named.items()}


def load_network(network: Network, *, device: str, inception: str = "cache") -> SetNetwork:
    """A network with its weights.

    Args:
        network: ``vgg`` (embedded, always there) or ``inception``.
        device: where to compute.
        inception: where Inception's weights come from: ``cache`` (torch's cache; nothing is
            fetched), ``download`` (fetched if it is not cached), or the path of the file.

    Raises:
        UserError: when the weights cannot be had; the message is the reason to record.
    """
    facts = NETWORKS[network]
    scores, options = None, {}
    if network == "vgg":
        import bench.quality.vgg_extractor  # noqa: F401 - registers itself
    else:
        scores = "logits_unbiased"  # torch-fidelity's own choice
        options["feature_extractor_weights_path"] = str(inception_weights(inception))
    from torch_fidelity.utils import create_feature_extractor

    layers = [facts.layer] if scores is None else [facts.layer, scores]
    # torch-fidelity's own flag knows the first card only.
    extractor = create_feature_extractor(
        facts.extractor, layers, cuda=False, verbose=False, **options
    )
    return SetNetwork(facts, scores, extractor.to(device), torch.device(device))


def inception_weights(source: str) -> Path:
    """The file with Inception's weights, its digest checked; ``source`` as in ``load_network``.

    Raises:
        UserError: when it is not there, is another file, or cannot be downloaded.
    """
    cached = Path(torch.hub.get_dir()) / "checkpoints" / INCEPTION_WEIGHTS
    path = cached if source in ("cache", "download") else Path(source)
    if source == "download" and not is_visible_file(path):
        fetch(INCEPTION_URL, path, what="Inception's file of weights", digest=INCEPTION_DIGEST)
    if not is_visible_file(path):
        if source == "cache":
            raise UserError(
                f"Inception is needed, and torch's cache has no {path.name}; set quality.inception "
                "(of a scenario) to a file with it, or to 'download', or take fd_vgg and kd_vgg, "
                f"which need none (the file comes from {INCEPTION_URL})"
            )
        raise UserError(f"{path}: there is no such file of Inception's weights")
    if (found := sha256(path)) != INCEPTION_DIGEST:
        raise UserError(
            f"{path}: is not {INCEPTION_WEIGHTS} (SHA-256 {found[:8]}..., not "
            f"{INCEPTION_DIGEST[:8]}...); with other weights the numbers would be no FID"
        )
    return path
