"""The metrics of two sets of images: names, needs and definitions. Imports no PyTorch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Network = Literal["inception", "vgg"]
Kind = Literal["frechet", "kernel", "inception_score", "precision", "recall", "art"]
"""What is computed of the features; metrics of both networks share one."""

NEIGHBOURS = 3
"""Of precision and recall (Kynkäänniemi et al. 2019, and torch-fidelity's default)."""
KERNEL_SUBSETS = 100
KERNEL_SUBSET_SIZE = 1000
"""torch-fidelity's defaults (Binkowski et al. 2018)."""
SCORE_SPLITS = 10
SCORE_SPLIT_SIZE = 1000

INCEPTION_WEIGHTS = "weights-inception-2015-12-05-6726825d.pth"


@dataclass(frozen=True)
class NetworkFacts:
    """What is to be known of a network without loading it."""

    extractor: str
    """Its name in torch-fidelity's registry."""
    weights: str
    layer: str
    """Whose features distances are taken of."""
    dimension: int
    side: int
    """Pixels a side that images are judged at."""
    antialiased: bool
    """Whether the extractor's own resizing is."""
    what: str

    def describe(self) -> str:
        """Network, weights, layer and resolution, for a definition."""
        how = (
            "bilinearly with antialiasing"
            if self.antialiased
            else "by TensorFlow 1's bilinear sampling without antialiasing"
        )
        return (
            f"{self.what} ({self.weights}, {self.dimension} features), images stretched to "
            f"{self.side}x{self.side} {how}"
        )


NETWORKS: Mapping[Network, NetworkFacts] = {
    "inception": NetworkFacts(
        "inception-v3-compat",
        INCEPTION_WEIGHTS,
        "2048",
        2048,
        299,
        False,
        "torch-fidelity's Inception-v3 of ImageNet at its last pooling",
    ),
    "vgg": NetworkFacts(
        "vgg16-normalised-gap",
        "vgg16-normalised",
        "relu5_1",
        512,
        256,
        True,
        "global averages of the embedded VGG-16's relu5_1, scaled to mean square 1 in each image",
    ),
}


@dataclass(frozen=True)
class SetMetric:
    """One metric of a set of outputs, and of a set of styles that it is compared with."""

    name: str
    better: Literal["lower", "higher"]
    network: Network
    kind: Kind

    @property
    def least(self) -> int:
        """Images in each set below which the metric is not defined."""
        return NEIGHBOURS + 1 if self.kind in ("precision", "recall") else 2

    @property
    def needs_content(self) -> bool:
        """Whether LPIPS to the contents enters."""
        return self.kind == "art"

    @property
    def needs_styles(self) -> bool:
        """Whether it compares with the styles; the inception score looks at the outputs alone."""
        return self.kind != "inception_score"

    @property
    def definition(self) -> str:
        """What is computed, of which network at which resolution, from whom."""
        text = _FORMULAS[self.kind].format(distance="FID" if self.network == "inception" else "FD")
        kind = _NO_INCEPTION if self.network == "vgg" else _NOT_ART if self.kind == "art" else ""
        return f"{text}; {NETWORKS[self.network].describe()}{kind}"


_FORMULAS: Mapping[Kind, str] = {
    "frechet": "Frechet distance of the Gaussians fitted to the features of outputs and styles, "
    "covariances over n - 1 (Heusel et al. 2017)",
    "kernel": "squared maximum mean discrepancy of the features of outputs and styles, kernel "
    f"(x.y/D + 1)^3, unbiased, mean over {KERNEL_SUBSETS} subsets of {KERNEL_SUBSET_SIZE} images "
    "or the smaller set's (Binkowski et al. 2018, by torch-fidelity); low and high are a 95 % "
    "interval by the jackknife over images",
    "inception_score": "inception score of the outputs (Salimans et al. 2016, by torch-fidelity), "
    f"mean over splits of at least {SCORE_SPLIT_SIZE} images, at most {SCORE_SPLITS} splits",
    "precision": "share of outputs within the reach of a style's nearest "
    f"{NEIGHBOURS} styles (Kynkäänniemi et al. 2019, by torch-fidelity)",
    "recall": "share of styles within the reach of an output's nearest "
    f"{NEIGHBOURS} outputs (Kynkäänniemi et al. 2019, by torch-fidelity)",
    "art": "(1 + LPIPS) * (1 + {distance}), LPIPS (AlexNet) of output and content, mean, and the "
    "Frechet distance of outputs and styles (after ArtFID, Wright and Ommer 2022)",
}
_NO_INCEPTION = "; no Inception: not comparable with FID, KID or ArtFID"
_NOT_ART = ", not the published ArtFID's, which was trained on artworks; not extrapolated in n"


SET_METRICS: Mapping[str, SetMetric] = {
    metric.name: metric
    for metric in (
        SetMetric("fid", "lower", "inception", "frechet"),
        SetMetric("kid", "lower", "inception", "kernel"),
        SetMetric("isc", "higher", "inception", "inception_score"),
        SetMetric("precision_inception", "higher", "inception", "precision"),
        SetMetric("recall_inception", "higher", "inception", "recall"),
        SetMetric("artfid_inception", "lower", "inception", "art"),
        SetMetric("fd_vgg", "lower", "vgg", "frechet"),
        SetMetric("kd_vgg", "lower", "vgg", "kernel"),
        SetMetric("precision_vgg", "higher", "vgg", "precision"),
        SetMetric("recall_vgg", "higher", "vgg", "recall"),
        SetMetric("art_fd_vgg", "lower", "vgg", "art"),
    )
}
"""By name. Those of the VGG never bear a name that an Inception metric is known by."""
