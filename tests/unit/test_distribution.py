"""Metrics of sets: closed forms, torch-fidelity's own values, and what a small set is told."""

import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch_fidelity
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset
from torch_fidelity.feature_extractor_base import FeatureExtractorBase
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric

from bench.cells import QualitySettings
from bench.errors import UserError
from bench.quality import distribution, feature_distances, set_networks, vgg_extractor
from bench.quality.distribution import SetResult, compute, evaluate_sets, extract
from bench.quality.feature_distances import (
    frechet_distance,
    inception_score,
    kernel_distance,
    precision_recall,
)
from bench.quality.metric import Conditions, PictureSet
from bench.quality.set_images import read_set
from bench.quality.set_metrics import NETWORKS, SET_METRICS, NetworkFacts
from bench.quality.set_networks import SetNetwork
from bench.quality.set_plugins import SET_METRICS as PLUGINS
from bench.units import Size
from distill import weights
from distill.weights import load_named, sha256

pytestmark = pytest.mark.numerical


def draw(seed: int, n: int, dimension: int) -> Tensor:
    """Correlated features of float64."""
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dimension, dimension, generator=generator, dtype=torch.float64)
    return torch.randn(n, dimension, generator=generator, dtype=torch.float64) @ mixing


# --------------------------------------------------------------------------------- Frechet distance

sizes = st.sampled_from([(2, 2, 5), (3, 9, 6), (7, 4, 40), (40, 30, 5), (12, 60, 12)])


@given(seed=st.integers(0, 2**31), size=sizes)
def test_a_translated_set_is_as_far_as_it_was_moved(seed, size):
    n, _, dimension = size
    first, move = draw(seed, n, dimension), draw(seed + 1, 1, dimension)[0]
    scale = float(first.var(0).sum())
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-10 * scale)
    assert frechet_distance(first, first + move) == pytest.approx(
        float(move.square().sum()), rel=1e-9, abs=1e-10 * scale
    )


@given(seed=st.integers(0, 2**31), size=sizes, factor=st.floats(0.1, 3))
def test_a_scaled_set_in_closed_form_also_where_covariances_are_singular(seed, size, factor):
    """S2 = c^2 S1, so that tr(S1 + S2 - 2 (S1 S2)^.5) = (1 - c)^2 tr S1, whatever the rank."""
    first = draw(seed, size[0], size[2])
    expected = (1 - factor) ** 2 * float(first.var(0).sum() + first.mean(0).square().sum())
    assert frechet_distance(first, factor * first) == pytest.approx(
        expected, rel=1e-8, abs=1e-9 * float(first.square().sum())
    )


@given(seed=st.integers(0, 2**31), size=sizes)
def test_a_frechet_distance_has_no_order_and_no_direction(seed, size):
    first, second = draw(seed, size[0], size[2]), draw(seed + 1, size[1], size[2])
    shuffled = first[torch.randperm(len(first), generator=torch.Generator().manual_seed(seed))]
    value = frechet_distance(first, second)
    assert value >= 0
    assert frechet_distance(second, first) == pytest.approx(value, rel=1e-9)
    assert frechet_distance(shuffled, second) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(("size", "tolerance"), [((200, 150, 20), 1e-9), ((12, 15, 64), 1e-4)])
def test_the_frechet_distance_is_torch_fidelitys(size, tolerance):
    """Where covariances are singular, theirs takes roots of rounding errors: less tolerance."""
    n, m, dimension = size
    first, second = draw(1, n, dimension), draw(2, m, dimension) + 1
    statistics = [fid_features_to_statistics(features) for features in (first, second)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(first, second) == pytest.approx(theirs, rel=tolerance)


def test_features_that_make_no_distance_are_refused():
    with pytest.raises(ValueError, match=r"\(N, D\) and \(M, D\)"):
        frechet_distance(draw(1, 4, 3), draw(1, 4, 2))
    with pytest.raises(ValueError, match="at least 2 rows"):
        frechet_distance(draw(1, 4, 3), draw(1, 1, 3))
    with pytest.raises(ValueError, match="not finite"):
        kernel_distance(draw(1, 4, 3), draw(1, 4, 3) / 0)


# ---------------------------------------------------------------------------------- kernel distance


def unbiased(first: Tensor, second: Tensor) -> float:
    """The definition, in a plain loop-free form."""

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def within(x: Tensor) -> Tensor:
        return (kernel(x, x).sum() - kernel(x, x).diagonal().sum()) / (len(x) * (len(x) - 1))

    return float(within(first) + within(second) - 2 * kernel(first, second).mean())


def test_a_kernel_distance_of_equal_small_sets_is_the_whole_unbiased_estimate():
    first, second = draw(1, 30, 6), draw(2, 30, 6)
    found = kernel_distance(first, second)
    assert found.value == pytest.approx(unbiased(first, second), rel=1e-9)
    assert (found.subset_size, found.subsets) == (30, 1)


@pytest.mark.parametrize("size", [(30, 25), (70, 60)])
def test_a_kernel_distance_samples_subsets_no_larger_than_a_set(size, monkeypatch):
    monkeypatch.setattr(feature_distances, "KERNEL_SUBSET_SIZE", 50)
    first, second = draw(1, size[0], 4), draw(2, size[1], 4)
    found = kernel_distance(first, second)
    assert (found.subset_size, found.subsets) == (min(50, *size), 100)
    # The mean over subsets estimates the whole sets' value.
    assert found.value == pytest.approx(unbiased(first, second), rel=0.05)


def test_the_interval_is_that_of_leaving_out_each_image():
    from scipy.stats import t

    first, second = draw(1, 9, 3), draw(2, 7, 3)
    variance = 0.0
    for one, other in ((first, second), (second, first)):
        keep = ~torch.eye(len(one), dtype=torch.bool)
        left = torch.tensor([unbiased(one[rows], other) for rows in keep], dtype=torch.float64)
        variance += (len(one) - 1) / len(one) * float((left - left.mean()).square().sum())
    found = kernel_distance(first, second)
    half = variance**0.5 * t.ppf(0.975, 6)
    assert found.low == pytest.approx(found.value - half, rel=1e-9)
    assert found.high == pytest.approx(found.value + half, rel=1e-9)


@pytest.mark.parametrize("move", [0.0, 0.5, 1.0])
def test_the_value_is_unbiased_and_its_interval_covers_the_truth(move):
    """Standard normals and the same moved: the kernel's moments in closed form."""
    d, n = 8, 40
    m = d * move**2
    truth = 3 * m / d + 3 * m**2 / d**2 + (m**3 + 3 * m * (2 * m + d) + 6 * m) / d**3
    generator = torch.Generator().manual_seed(3)

    def sample() -> Tensor:
        return torch.randn(n, d, generator=generator, dtype=torch.float64)

    found = [kernel_distance(sample(), sample() + move) for _ in range(200)]
    covering = [f.low <= truth <= f.high for f in found if f.low is not None and f.high is not None]
    assert sum(covering) >= 180
    values = np.array([f.value for f in found])
    assert abs(values.mean() - truth) < 4 * values.std() / 200**0.5


def test_two_images_have_a_kernel_distance_and_no_interval():
    found = kernel_distance(draw(1, 2, 3), draw(2, 5, 3))
    assert found.low is None
    assert found.subset_size == 2


# ------------------------------------------------------------------------ scores and neighbourhoods


def test_inception_scores_in_closed_form():
    sure = 1e3 * torch.eye(5).repeat(4, 1)
    assert inception_score(sure) == (pytest.approx(5), None, None, 1)
    assert inception_score(torch.zeros(20, 5))[0] == pytest.approx(1)
    value, low, high, splits = inception_score(torch.randn(2500, 5))
    assert splits == 2
    assert low < value < high


def test_precision_is_of_the_outputs_and_recall_of_the_styles():
    """Outputs lie in one of the styles' two clusters: all precise, half of the styles reached."""
    near, far = draw(1, 20, 4), draw(2, 20, 4) + 1000
    assert precision_recall(near.clone(), torch.cat([near, far])) == (1.0, 0.5)


# --------------------------------------------------------------------------------------- extraction


class Images(Dataset[Tensor]):
    def __init__(self, images: list[Tensor]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Tensor:
        return self.images[index]


class MeanColour(FeatureExtractorBase):
    """A toy: the mean of each channel, in levels."""

    def __init__(self, name: str, features_list: list[str], **_: Any) -> None:
        super().__init__(name, features_list)

    @staticmethod
    def get_provided_features_list():
        return ("mean",)

    @staticmethod
    def get_default_feature_layer_for_metric(metric):
        return "mean"

    def forward(self, images):
        return (images.float().mean((2, 3)),)


torch_fidelity.register_feature_extractor("test-mean-colour", MeanColour)


def pictures(seed: int, count: int, *, low: int = 0, high: int = 256, side: int = 24):
    """Smooth random pictures: noise has the same averages everywhere."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randint(low, high, (count, 3, 3, 3), generator=generator).float()
    return list(torch.nn.functional.interpolate(coarse, (side, side)).to(torch.uint8))


def of_fidelity(first: list[Tensor], second: list[Tensor], **options: Any) -> dict[str, float]:
    return torch_fidelity.calculate_metrics(
        input1=Images(first),
        input2=Images(second),
        cuda=False,
        verbose=False,
        save_cpu_ram=True,  # no worker processes
        **options,
    )


def test_brighter_images_are_as_far_as_they_are_brighter_with_a_toy_extractor():
    facts = NetworkFacts("test-mean-colour", "none", "mean", 3, 24, True, "a toy")
    toy = {"vgg": SetNetwork(facts, None, MeanColour("toy", ["mean"]), torch.device("cpu"))}
    dark = pictures(1, 12, high=200)
    light = [image + 10 for image in dark]
    first, second = (extract(images, toy)["vgg"] for images in (dark, light))
    ours = frechet_distance(first.distances, second.distances)
    assert ours == pytest.approx(300, rel=1e-4)
    theirs = of_fidelity(dark, light, feature_extractor="test-mean-colour", fid=True)
    assert ours == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)


@pytest.fixture(scope="module", autouse=True)
def small_vgg():
    """The VGG sees images at 64 px: a sixteenth of the work, by the same code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vgg_extractor, "SIDE", 64)
        yield


VGG = ["fd_vgg", "kd_vgg", "precision_vgg", "recall_vgg"]


@pytest.fixture(scope="module")
def sets() -> tuple[list[Tensor], list[Tensor]]:
    return pictures(1, 6), pictures(2, 6, low=100)


@pytest.fixture(scope="module")
def found(sets) -> dict[str, SetResult]:
    return evaluate_sets(*sets, metrics=VGG)


def same(first: dict[str, SetResult], second: dict[str, SetResult], rel: float = 1e-4) -> bool:
    return {name: result.value for name, result in first.items()} == pytest.approx(
        {name: result.value for name, result in second.items()}, rel=rel, abs=1e-4
    )


def test_torch_fidelity_itself_gives_the_same_with_the_registered_extractor(sets, found):
    theirs = of_fidelity(
        *sets,
        feature_extractor=NETWORKS["vgg"].extractor,
        fid=True,
        kid=True,
        prc=True,
        kid_subset_size=6,
    )
    assert found["fd_vgg"].value == pytest.approx(theirs["frechet_inception_distance"], rel=1e-3)
    assert found["kd_vgg"].value == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-3
    )
    assert found["precision_vgg"].value == pytest.approx(theirs["precision"])
    assert found["recall_vgg"].value == pytest.approx(theirs["recall"])


def test_a_set_has_no_order_and_a_batch_is_no_different_from_its_images(sets, found):
    outputs, styles = sets
    assert same(found, evaluate_sets(outputs[::-1], styles[3:] + styles[:3], metrics=VGG))
    assert same(found, evaluate_sets(outputs, torch.stack(styles), metrics=VGG, batch_size=1))


def test_a_set_is_no_different_from_itself(sets):
    found = evaluate_sets(sets[0], sets[0], metrics=VGG)
    assert found["fd_vgg"].value == pytest.approx(0, abs=1e-6)
    assert found["kd_vgg"].value < 0  # unbiased: images are compared with others only
    assert found["precision_vgg"].value == found["recall_vgg"].value == 1


def test_folders_paths_and_tensors_are_the_same_sets(sets, found, tmp_path):
    for index, image in enumerate(sets[0]):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(tmp_path / f"{index}.png")
    (tmp_path / "notes.txt").write_text("no picture")
    assert same(found, evaluate_sets(tmp_path, sets[1], metrics=VGG))
    assert same(found, evaluate_sets(sorted(tmp_path.glob("*.png")), iter(sets[1]), metrics=VGG))


def test_images_of_several_sizes_make_one_set(sets):
    mixed = [*sets[0][:2], *pictures(5, 2, side=40), *sets[0][2:]]
    result = evaluate_sets(mixed, sets[1], metrics=["kd_vgg"])["kd_vgg"]
    assert result.outputs == 8
    assert result.resolution == "images of 24x24 to 40x40, judged at 256x256"
    assert result.subset_size == 6


def test_features_do_not_depend_on_the_order_they_were_read_in(sets):
    network = {"vgg": set_networks.load_network("vgg", device="cpu")}
    first, second = (extract(images, network)["vgg"] for images in (sets[0], sets[0][::-1]))
    assert torch.allclose(first.distances, second.distances, atol=1e-5)
    assert torch.allclose(first.distances.square().mean(1), torch.ones(6))


def test_features_are_scaled_averages_at_the_side_that_is_stated(monkeypatch):
    facts = NETWORKS["vgg"]
    monkeypatch.setattr(vgg_extractor, "SIDE", facts.side)
    image = pictures(1, 1, side=300)[0][None, :, :200]
    encoder = load_named("vgg16-normalised")
    small = torch.nn.functional.interpolate(
        image / 255, (256, 256), mode="bilinear", antialias=True, align_corners=False
    )
    mean = encoder.features(small, ["relu5_1"])[0].mean((2, 3))
    network = set_networks.load_network("vgg", device="cpu")
    found = network.features(image)[facts.layer]
    assert torch.allclose(found, mean / mean.square().mean().sqrt(), atol=1e-5)


def test_a_side_is_brought_about_before_a_network_sees_the_image():
    image = pictures(1, 1, side=30)[0]
    assert [i.shape for i in read_set([image], "outputs", side=10)] == [(3, 10, 10)]
    grey = torch.full((3, 30, 30), 77, dtype=torch.uint8)
    assert next(read_set([grey], "outputs", side=7)).unique().tolist() == [77]


# --------------------------------------------------------------------------------- what is recorded


def test_a_result_says_what_it_is_of_and_that_the_set_is_small(found):
    fd, kd = found["fd_vgg"], found["kd_vgg"]
    assert (fd.outputs, fd.styles, fd.network) == (6, 6, "vgg16-normalised")
    assert fd.low is None
    assert "6 images for 512 features" in fd.warning
    assert "prefer kd_vgg" in fd.warning
    assert "no Inception: not comparable with FID" in fd.definition
    assert kd.low < kd.value < kd.high
    assert (kd.subset_size, kd.subsets) == (6, 1)


def features(n: int, dimension: int = 512) -> distribution.SetFeatures:
    return distribution.SetFeatures(torch.randn(n, dimension), None, (64, 64), (64, 64))


@pytest.mark.parametrize(
    ("metric", "n", "warned"),
    [
        ("fd_vgg", 512, "rank 511"),
        ("fd_vgg", 513, "biased upwards"),
        ("fd_vgg", 2560, None),
        ("kd_vgg", 29, "rough"),
        ("kd_vgg", 30, None),
        ("precision_vgg", 999, "equal sizes"),
    ],
)
def test_what_a_size_is_too_small_for(metric, n, warned, monkeypatch):
    for name in ("frechet_distance", "precision_recall"):  # the numbers do not matter here
        monkeypatch.setattr(distribution, name, lambda *_: (0, 0))
    warning = compute(SET_METRICS[metric], features(n), features(n + 1)).warning
    assert warning is None if warned is None else warned in warning


def test_too_few_images_are_absent_values(sets):
    outputs, styles = sets
    found = evaluate_sets(outputs[:3], styles, metrics=VGG)
    assert found["precision_vgg"].value is None
    assert (
        found["precision_vgg"].absent == "precision_vgg needs at least 4 images in each set, not 3"
    )
    assert found["kd_vgg"].value is not None
    assert evaluate_sets(outputs[:1], styles, metrics=["fd_vgg"])["fd_vgg"].value is None


def test_no_metric_of_the_vgg_bears_an_inception_metrics_name():
    for name, metric in SET_METRICS.items():
        own = ("vgg" in name) == (metric.network == "vgg")
        assert own, name
        assert metric.network == "inception" or not any(word in name for word in ("fid", "kid"))


# ------------------------------------------------------------------------------------------- ArtFID


def test_art_multiplies_content_and_style(sets, found):
    result = evaluate_sets(*sets, metrics=["art_fd_vgg"], lpips=[0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    expected = (1 + 0.35) * (1 + found["fd_vgg"].value)
    assert result["art_fd_vgg"].value == pytest.approx(expected, rel=1e-4)


def test_art_without_contents_is_absent_and_the_rest_is_not(sets):
    found = evaluate_sets(*sets, metrics=["art_fd_vgg", "kd_vgg"])
    assert "LPIPS to the contents" in found["art_fd_vgg"].absent
    assert found["kd_vgg"].value is not None


def test_art_takes_lpips_to_the_contents(sets, shared):
    from distill.perceptual import Lpips

    backbone = str(shared / "weights/lpips-alexnet-features.safetensors")
    outputs, contents = pictures(1, 2, side=64), pictures(3, 2, side=64)
    options = {"metrics": ["art_fd_vgg"], "lpips_backbone": backbone}
    found = evaluate_sets(iter(outputs), sets[1], contents=iter(contents), **options)
    network = Lpips(backbone, "cpu")
    lpips = [network(a[None] / 255, b[None] / 255) for a, b in zip(outputs, contents, strict=True)]
    given = evaluate_sets(outputs, sets[1], lpips=lpips, **options)
    assert found["art_fd_vgg"].value == pytest.approx(given["art_fd_vgg"].value, rel=1e-5)
    for wrong, message in (
        (contents[:1], "more outputs than contents"),
        (contents * 2, "more contents than outputs"),
        (pictures(3, 2, side=80), "output 1: LPIPS compares images of one size"),
    ):
        with pytest.raises(UserError, match=message):
            evaluate_sets(outputs, sets[1], contents=wrong, **options)


# ---------------------------------------------------------------------------------------- Inception


@pytest.fixture
def no_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))


@pytest.fixture(scope="module")
def random_inception(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """torch-fidelity's Inception with random weights: its values mean nothing, and are compared."""
    path = tmp_path_factory.mktemp("inception") / "random.pth"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "torch_fidelity.feature_extractor_inceptionv3.load_state_dict_from_url",
            lambda *_, **__: {},
        )
        patch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
        network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"])
    torch.save(network.state_dict(), path)
    return path


@pytest.mark.slow
def test_inception_metrics_are_torch_fidelitys(sets, random_inception, monkeypatch):
    monkeypatch.setattr(set_networks, "INCEPTION_DIGEST", sha256(random_inception))
    names = ["fid", "kid", "isc", "precision_inception", "recall_inception", "artfid_inception"]
    found = evaluate_sets(*sets, metrics=names, inception=str(random_inception), lpips=[0.5] * 6)
    options = {"feature_extractor_weights_path": str(random_inception)}
    theirs = of_fidelity(*sets, kid=True, isc=True, isc_splits=1, kid_subset_size=6, **options)
    network = FeatureExtractorInceptionV3("inception-v3-compat", ["2048"], *options.values())
    with torch.inference_mode():
        pooled = [network(torch.stack(images))[0] for images in sets]
    assert found["fid"].value == pytest.approx(frechet_distance(*pooled), rel=1e-3)
    assert found["artfid_inception"].value == pytest.approx(1.5 * (1 + found["fid"].value))
    assert found["kid"].value == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-3, abs=1e-5
    )
    assert found["isc"].value == pytest.approx(theirs["inception_score_mean"], rel=1e-4)
    assert found["isc"].styles is None
    assert 0 <= found["precision_inception"].value <= 1
    assert "not the published ArtFID's" in found["artfid_inception"].definition
    assert "6 images for 2048 features" in found["fid"].warning


def test_without_inceptions_weights_the_reason_is_recorded_and_the_vgg_remains(sets, no_cache):
    found = evaluate_sets(*sets, metrics=["fid", "kd_vgg"])
    assert found["fid"].value is None
    assert "torch's cache has no weights-inception-2015-12-05-6726825d.pth" in found["fid"].absent
    assert "fd_vgg" in found["fid"].absent
    assert list(found) == ["fid", "kd_vgg"]
    assert found["kd_vgg"].value is not None


def test_other_weights_are_not_taken_for_inceptions(sets, tmp_path, random_inception):
    result = evaluate_sets(*sets, metrics=["fid"], inception=str(random_inception))["fid"]
    assert "would be no FID" in result.absent
    missing = evaluate_sets(*sets, metrics=["fid"], inception=str(tmp_path / "none.pth"))["fid"]
    assert "no such file" in missing.absent


def test_a_download_that_is_never_answered_is_given_up(sets, no_cache, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/weights.pth"
        monkeypatch.setattr(set_networks, "INCEPTION_URL", url)
        monkeypatch.setattr(weights, "NETWORK_TIMEOUT_S", 0.2)
        result = evaluate_sets(*sets, metrics=["kid"], inception="download")["kid"]
    assert "must be downloaded, and that failed (timed out)" in result.absent
    assert socket.getdefaulttimeout() is None


# ---------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metrics": ["fd_vg"]}, r"'fd_vg' is not known; .*did you mean 'fd_vgg'\?"),
        ({"outputs": "no-such-folder"}, "outputs: no such file or folder 'no-such-folder'"),
        ({"styles": []}, "a set without images"),
    ],
)
def test_bad_input_is_one_line(sets, options, message):
    given = {"outputs": sets[0], "styles": sets[1], "metrics": ["kd_vgg"]} | options
    with pytest.raises(UserError, match=message) as error:
        evaluate_sets(**given)
    assert len(error.value.problems) == 1


def test_floats_are_no_images(sets):
    with pytest.raises(ValueError, match="uint8"):
        evaluate_sets([image.float() for image in sets[0]], sets[1], metrics=["kd_vgg"])


# ----------------------------------------------------------------------------------------- plug-ins


def test_a_plug_in_compares_the_outputs_with_each_style_once(sets, found, tmp_path):
    paths = []
    for index, image in enumerate(sets[0] + sets[1]):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(paths[-1])
    settings = QualitySettings(
        metrics=("kd_vgg",), network="vgg16-normalised", lpips_backbone="cache", max_pairs=6
    )
    conditions = Conditions(settings, "cpu", Size(24, 24), Size(24, 24))
    by_name = {metric.name: metric for metric in PLUGINS}
    assert by_name["kd_vgg"].needs == {"style"}
    given = PictureSet(tuple(paths[:6]), tuple(paths[:6]), tuple(paths[6:] + paths[6:8]))
    values = by_name["kd_vgg"].prepare(conditions)(given)
    assert values == pytest.approx(
        {
            "kd_vgg": found["kd_vgg"].value,
            "kd_vgg_low": found["kd_vgg"].low,
            "kd_vgg_high": found["kd_vgg"].high,
        },
        rel=1e-4,
        abs=1e-4,
    )
    assert given.notes["kd_vgg"].startswith("6 outputs and 6 styles; 6 images, fewer than 30")
    with pytest.raises(UserError, match="at least 64 px"):
        by_name["art_fd_vgg"].prepare(conditions)


@pytest.mark.gpu
def test_the_same_on_a_card(sets, found):
    assert same(found, evaluate_sets(*sets, metrics=VGG, device="cuda"), rel=1e-3)
