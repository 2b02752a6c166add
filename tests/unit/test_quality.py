"""Quality: losses in closed form, LPIPS against its published pair, pictures and means."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor

from bench.cells import Cell, MeasureSettings, QualitySettings
from bench.errors import UserError
from bench.image_specs import BUILTIN_STYLES
from bench.image_tensors import load_tensor
from bench.images import read_image
from bench.quality import catalogue, evaluate, tiles
from bench.quality.evaluate import evaluate_quality
from bench.quality.metric import Metric, Pair, PictureSet
from bench.quality.tiles import tiled_mean
from bench.record import Record
from bench.run.draft import draft_fields
from bench.stylizers import load_stylizer
from bench.units import Size
from distill import perceptual
from distill.pairs import image_pairs
from distill.perceptual import Lpips
from distill.reference_losses import STYLE_LAYERS, ReferenceLosses, gram
from distill.weights import sha256

pytestmark = pytest.mark.numerical

# ------------------------------------------------------------------------------------------ losses


def test_gram_in_closed_form():
    features = torch.tensor([[1.0, 2, 3, 0], [0, 1, 0, 1]]).view(1, 2, 2, 2)
    assert torch.equal(gram(features), torch.tensor([[14.0, 2], [2, 2]]) / 8)


@given(seed=st.integers(0, 2**31))
def test_gram_does_not_know_where_a_pixel_lies(seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(1, 5, 7, 6, generator=generator)
    shuffled = features.flatten(2)[..., torch.randperm(42, generator=generator)].view_as(features)
    assert torch.allclose(gram(features), gram(shuffled), atol=1e-6)


def test_gram_does_not_depend_on_the_memory_format():
    features = torch.randn(1, 5, 7, 6)
    last = features.to(memory_format=torch.channels_last)
    assert torch.allclose(gram(last), gram(features), atol=1e-6)


@pytest.fixture(scope="module")
def losses() -> ReferenceLosses:
    return ReferenceLosses("vgg16-normalised", "cpu")


def photo(name: str, width: int = 64, height: int = 48) -> torch.Tensor:
    return load_tensor(f"builtin:{name}", Size(width, height), role="content")


def test_an_image_is_no_different_from_itself(losses):
    features = losses.features(photo("chelsea"))
    assert losses.content_loss(features, features) == 0
    assert losses.style_losses(features, features) == dict.fromkeys(STYLE_LAYERS, 0.0)


def test_losses_are_those_defined(losses):
    """Against the plain reference network, layer by layer."""
    first, second = photo("chelsea"), photo("coffee")
    features = [losses.features(image) for image in (first, second)]
    with torch.inference_mode():
        maps = [losses._encoder.features(image, STYLE_LAYERS) for image in (first, second)]
    content = (maps[0][3] - maps[1][3]).square().mean().item()
    assert losses.content_loss(*features) == pytest.approx(content, rel=1e-5)
    found = losses.style_losses(*features)
    for layer, a, b in zip(STYLE_LAYERS, *maps, strict=True):
        channels = a.shape[1]
        grams = [torch.cov(x[0].flatten(1), correction=0) for x in (a, b)]
        grams = [
            (cov + torch.outer(m := x[0].mean((1, 2)), m)) / channels
            for cov, x in zip(grams, (a, b), strict=True)
        ]
        assert found[layer] == pytest.approx((grams[0] - grams[1]).square().mean().item(), rel=1e-3)


def test_style_is_compared_across_sizes(losses):
    """Twice the picture, mirrored so that no edge is new, is the same style; another is not."""
    picture = photo("coffee", 96, 96)
    twice = torch.cat([picture, picture.flip(3)], dim=3)
    features = [losses.features(image) for image in (picture, twice, photo("astronaut"))]
    # Filters are not symmetric, so the mirrored half differs in the small.
    same, different = (losses.style_losses(x, features[0]) for x in features[1:])
    assert 0 < sum(same.values()) < 0.3 * sum(different.values())


def test_a_reference_network_that_is_not_known():
    with pytest.raises(UserError, match="unknown weights 'vgg'; known are vgg16-normalised"):
        ReferenceLosses("vgg", "cpu")


# ------------------------------------------------------------------------------------------- LPIPS


@pytest.fixture(scope="module")
def backbone(shared) -> Path:
    return shared / "weights/lpips-alexnet-features.safetensors"


@pytest.fixture
def random_backbone(tmp_path) -> Path:
    """AlexNet's shapes with random values: enough for what does not depend on the values."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for index, shape in {
        0: (64, 3, 11, 11),
        3: (192, 64, 5, 5),
        6: (384, 192, 3, 3),
        8: (256, 384, 3, 3),
        10: (256, 256, 3, 3),
    }.items():
        scale = (2 / (shape[1] * shape[2] * shape[3])) ** 0.5
        tensors[f"features.{index}.weight"] = scale * torch.randn(shape, generator=generator)
        tensors[f"features.{index}.bias"] = torch.zeros(shape[0])
    save_file(tensors, tmp_path / "alexnet.safetensors")
    return tmp_path / "alexnet.safetensors"


@pytest.mark.parametrize("embedded", [False, True])
@pytest.mark.parametrize(("other", "published"), [("ex_p0", 0.7219), ("ex_p1", 0.1376)])
def test_lpips_of_the_published_pair(shared, backbone, other, published, embedded):
    reference, image = (
        load_tensor(str(shared / f"images/lpips/{name}.png"), None, role="content")
        for name in ("ex_ref", other)
    )
    lpips = Lpips("embedded" if embedded else str(backbone), "cpu")
    assert lpips(reference, image) == pytest.approx(published, abs=1e-3)
    assert lpips(image, reference) == pytest.approx(published, abs=1e-3)
    assert lpips(image, image) == 0


@pytest.mark.parametrize("value", [-0.01, 1.01, float("nan")])
@pytest.mark.parametrize("position", [0, 1])
def test_lpips_guards_its_range(random_backbone, value, position):
    lpips = Lpips(str(random_backbone), "cpu")
    images = [torch.rand(1, 3, 64, 64), torch.rand(1, 3, 64, 64)]
    assert lpips(*images) > 0
    images[position][0, 1, 2, 3] = value
    with pytest.raises(ValueError, match=r"0\.\.1"):
        lpips(*images)


@pytest.fixture
def empty_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub/checkpoints"


def _coarse(image: Tensor) -> Tensor:
    """The image in blocks of 4x4 pixels."""
    return F.avg_pool2d(image, 4).repeat_interleave(4, 2).repeat_interleave(4, 3)


@pytest.mark.parametrize(
    ("change", "original"),
    [
        (lambda _: load_tensor("builtin:coffee", Size(256, 256), role="content"), 0.69739),
        (lambda image: image.flip(3), 0.51839),
        (lambda image: 0.5 * image, 0.08700),
        (_coarse, 0.53625),
    ],
    ids=["another", "mirrored", "darker", "coarse"],
)
def test_an_empty_cache_gives_the_embedded_backbone_near_the_original(
    empty_cache, change, original
):
    """Values of torchvision's own file in float32 stand beside those of the embedded copy."""
    lpips = Lpips("cache", "cpu")
    assert lpips.backbone == "embedded, float16 and int8"
    image = load_tensor("builtin:chelsea", Size(256, 256), role="content")
    assert lpips(image, change(image)) == pytest.approx(original, abs=1e-3)
    assert lpips(image, image) == 0


def test_a_damaged_embedded_backbone_is_refused(monkeypatch):
    monkeypatch.setattr("distill.perceptual.EMBEDDED_SHA256", "0" * 64)
    with pytest.raises(UserError, match="damaged; install the project again"):
        Lpips("embedded", "cpu")


def test_a_cache_nobody_may_look_into_is_none(monkeypatch):
    def refused(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", refused)
    assert perceptual.cached_backbone() is None


def test_the_cache_comes_before_the_embedded_copy(empty_cache, random_backbone):
    found = load_file(random_backbone)
    empty_cache.mkdir(parents=True)
    whole = empty_cache / "file.pth"
    torch.save(found, whole)
    # torch's files bear the first digits of their own checksum.
    target = whole.rename(empty_cache / f"alexnet-owt-{sha256(whole)[:8]}.pth")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(perceptual, "torchvision_file", lambda _: ("", target))
        patch.setattr("distill.weights.torchvision_file", lambda _: ("", target))
        assert Lpips("cache", "cpu").backbone == "cache"


def test_lpips_refuses_a_damaged_cache(empty_cache):
    empty_cache.mkdir(parents=True)
    (empty_cache / "alexnet-owt-7be5be79.pth").write_bytes(b"damaged")
    with pytest.raises(UserError, match="damaged"):
        Lpips("cache", "cpu")


def test_lpips_refuses_another_backbone(random_backbone, tmp_path):
    with pytest.raises(UserError, match="there is no such weights file"):
        Lpips(str(tmp_path / "none.pth"), "cpu")
    tensors = load_file(random_backbone)
    tensors["features.3.weight"] = torch.ones(64, 64, 3, 3)
    other = tmp_path / "other.safetensors"
    save_file(tensors, other)
    with pytest.raises(UserError, match=r"holds no features\.3\.weight of shape \(192, 64, 5, 5\)"):
        Lpips(str(other), "cpu")


def test_lpips_downloads_only_when_told(empty_cache, monkeypatch):
    asked = []
    monkeypatch.setattr("distill.perceptual.download", lambda name: asked.append(name) or {})
    with pytest.raises(UserError, match=r"download: holds no features\.0"):
        Lpips("download", "cpu")
    assert asked == ["AlexNet_Weights.IMAGENET1K_V1"]


def test_lpips_of_tiles_is_near_that_of_the_whole(shared, backbone, monkeypatch):
    """Tiles add borders, and nothing else: the mean stays within a few per cent."""
    first = load_tensor("builtin:chelsea", Size(448, 384), role="content")
    second = (first + 0.1 * torch.randn_like(first)).clamp(0, 1)
    lpips = Lpips(str(backbone), "cpu")
    whole = tiled_mean(lpips, first, second)
    assert whole == lpips(first, second)
    monkeypatch.setattr(tiles, "WHOLE", 0)
    monkeypatch.setattr(tiles, "TILE", 192)
    assert tiled_mean(lpips, first, second) == pytest.approx(whole, rel=0.05)
    assert tiled_mean(lpips, first, first) == 0


# -------------------------------------------------------------------------------------- evaluation


def test_pairs_in_their_order():
    assert image_pairs(("a", "b"), ("1", "2"), 9) == [
        ("a", "1"),
        ("b", "2"),
        ("a", "2"),
        ("b", "1"),
    ]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 90))
def test_pairs_are_distinct_and_even(contents, styles, limit):
    pairs = image_pairs(tuple("abcdefghi"[:contents]), tuple("123456789"[:styles]), limit)
    assert len(pairs) == len(set(pairs)) == min(limit, contents * styles)
    for position, count in ((0, contents), (1, styles)):
        used = Counter(pair[position] for pair in pairs)
        assert max(used.values()) - min(used.values()) <= 1
        assert len(used) == min(count, len(pairs))


def quality_cell(**settings: Any) -> Cell:
    quality = {
        "metrics": ("content_loss", "style_loss", "lpips"),
        "network": "vgg16-normalised",
        "lpips_backbone": "cache",
        "max_pairs": 3,
        **settings,
    }
    return Cell(
        kind="quality",
        model="adain-vgg16-64x",
        execution="whole",
        precision="fp32",
        device="cpu",
        width=72,
        height=64,
        style_width=64,
        style_height=80,
        memory_cap_bytes=None,
        alpha=1.0,
        seed=0,
        threads=None,
        content=("builtin:astronaut", "builtin:chelsea"),
        style=tuple(f"builtin:{name}" for name in BUILTIN_STYLES[:3]),
        measure=MeasureSettings(
            warmup=0, min_repeats=1, max_repeats=1, target_ci=0.1, cell_time_limit_s=60
        ),
        quality=QualitySettings(**quality),
        weights_digest="",
        code_version="1",
    )


def test_evaluation_gives_pictures_values_and_means(tmp_path, random_backbone):
    cell = quality_cell(lpips_backbone=str(random_backbone))
    images = tmp_path / "images"
    fields = evaluate_quality(load_stylizer(cell.model), cell, images)

    record = Record(**draft_fields(cell), **fields, status="ok")
    assert record.quality_network == "vgg16-normalised"
    assert record.quality_pairs == 3
    assert record.metrics_s is not None
    assert record.metrics_s > 0
    assert record.metrics_absent is None
    assert record.quality_definitions is not None
    assert list(record.quality_definitions) == ["content_loss", "style_loss", "lpips"]
    for said in ("vgg16-normalised", "relu4_1", "72x64", "3 pairs"):
        assert said in record.quality_definitions["content_loss"]
    assert "64x80" in record.quality_definitions["style_loss"]
    pairs = record.per_pair
    assert pairs is not None
    assert [(pair["content"], pair["style"]) for pair in pairs] == image_pairs(
        cell.content, cell.style, 3
    )
    values = {"content_loss", "style_loss", "lpips"} | {
        f"style_loss_{layer}" for layer in STYLE_LAYERS
    }
    for name in values:
        each = [pair[name] for pair in pairs]
        assert all(value > 0 for value in each)
        assert getattr(record, name) == pytest.approx(sum(each) / 3)
    for pair in pairs:
        total = sum(pair[f"style_loss_{layer}"] for layer in STYLE_LAYERS)
        assert pair["style_loss"] == pytest.approx(total)
        assert read_image(tmp_path / pair["image"]).shape == (64, 72, 3)
        assert read_image(tmp_path / pair["content_image"]).shape == (64, 72, 3)
        assert read_image(tmp_path / pair["style_image"]).shape == (80, 64, 3)
    # Each picture once, whatever it is paired with.
    named = {pair[key] for pair in pairs for key in ("image", "content_image", "style_image")}
    assert {f"images/{path.name}" for path in images.iterdir()} == named
    assert len(named) == 3 + 2 + 3


def test_the_pictures_are_what_the_model_made(tmp_path):
    cell = quality_cell(metrics=("content_loss",), max_pairs=1)
    stylizer = load_stylizer(cell.model)
    fields = evaluate_quality(stylizer, cell, tmp_path / "images")
    pair = fields["per_pair"][0]
    content = load_tensor(cell.content[0], Size(72, 64), role="content")
    style = load_tensor(cell.style[0], Size(64, 80), role="style")
    output = stylizer.stylize(content, stylizer.encode_style(style), cell.alpha)
    for key, tensor in (("image", output), ("content_image", content), ("style_image", style)):
        expected = tensor[0].permute(1, 2, 0).mul(255).round().to(torch.uint8).numpy()
        np.testing.assert_array_equal(read_image(tmp_path / pair[key]), expected)
    assert "style_loss" not in pair
    assert "lpips" not in pair
    assert "style_loss" not in fields


@pytest.mark.parametrize("metrics", [("lpips",), ("art_fd_vgg",)])
def test_a_record_says_which_backbone(tmp_path, empty_cache, metrics):
    cell = quality_cell(metrics=metrics, max_pairs=2)
    fields = evaluate_quality(load_stylizer("adain-vgg16-64x"), cell, tmp_path / "images")
    assert fields["lpips_backbone"] == "embedded, float16 and int8"
    assert "AlexNet (embedded, float16 and int8)" in fields["quality_definitions"][metrics[0]]


def test_a_definition_of_another_backbone_is_as_it_always_was(tmp_path, random_backbone):
    cell = quality_cell(lpips_backbone=str(random_backbone), metrics=("lpips",))
    fields = evaluate_quality(load_stylizer("adain-vgg16-64x"), cell, tmp_path / "images")
    assert fields["lpips_backbone"] == str(random_backbone)
    assert fields["quality_definitions"]["lpips"].startswith(
        "LPIPS 0.1 (Zhang et al. 2018), torchvision's AlexNet with the authors' linear heads; "
    )


def test_a_metric_that_cannot_be_computed_is_absent_with_its_reason(tmp_path, empty_cache):
    empty_cache.mkdir(parents=True)
    (empty_cache / "alexnet-owt-7be5be79.pth").write_bytes(b"damaged")
    fields = evaluate_quality(load_stylizer("adain-vgg16-64x"), quality_cell(), tmp_path / "images")
    assert "lpips" not in fields
    assert all("lpips" not in pair for pair in fields["per_pair"])
    assert list(fields["metrics_absent"]) == ["lpips"]
    assert "AlexNet" in fields["metrics_absent"]["lpips"]
    assert fields["content_loss"] > 0


def test_each_finished_pair_is_kept_with_the_means_so_far(tmp_path):
    kept = []
    cell = quality_cell(metrics=("content_loss", "fd_vgg"), max_pairs=3)
    whole = evaluate_quality(
        load_stylizer("adain-vgg16-64x"),
        cell,
        tmp_path / "images",
        keep=lambda fields: kept.append({**fields, "per_pair": list(fields["per_pair"])}),
    )
    assert [fields["quality_pairs"] for fields in kept] == [1, 2]
    for fields in kept:
        done = fields["quality_pairs"]
        record = Record(**draft_fields(cell), **fields, status="ok")
        assert (record.reason_code, record.reason) == ("some_pairs", f"{done} of 3 pairs")
        values = [pair["content_loss"] for pair in whole["per_pair"][:done]]
        assert record.content_loss == pytest.approx(sum(values) / done)
        assert record.per_pair == whole["per_pair"][:done]
        assert all((tmp_path / pair["image"]).is_file() for pair in fields["per_pair"])
        assert "not all were finished" in (record.metrics_absent or {})["fd_vgg"]
    assert "reason" not in whole
    assert whole["fd_vgg"] is not None
    assert whole["metrics_load_s"] + whole["metrics_set_s"] <= whole["metrics_s"] + 0.002
    assert whole["metrics_set_s"] > 0


def test_a_pair_that_cannot_be_read_is_left_out_with_a_note(tmp_path):
    content = tmp_path / "a.png"
    Image.new("RGB", (80, 80), "red").save(content)
    damaged = tmp_path / "b.png"
    damaged.write_bytes(content.read_bytes()[:60])
    contents = (str(content), str(damaged), "builtin:chelsea")
    settings = {"metrics": ("content_loss", "psnr_teacher"), "max_pairs": 3}
    cell = quality_cell(**settings).model_copy(update={"content": contents})
    stylizer = load_stylizer("adain-vgg16-64x")
    fields = evaluate_quality(stylizer, cell, tmp_path / "images")
    assert [pair["content"] for pair in fields["per_pair"]] == [contents[0], contents[2]]
    assert fields["reason_code"] == "some_pairs"
    assert fields["reason"].startswith(f"2 of 3 pairs; left out: {damaged}: cannot be read")
    assert fields["psnr_teacher"] > 0
    none = cell.model_copy(update={"content": (str(damaged),)})
    with pytest.raises(UserError, match=r"b\.png: cannot be read"):
        evaluate_quality(stylizer, none, tmp_path / "images")


def test_files_of_one_name_do_not_overwrite_each_other(tmp_path):
    specs = []
    for name, level in (("a", 50), ("b", 200)):
        (tmp_path / name).mkdir()
        path = tmp_path / name / "picture.png"
        Image.fromarray(np.full((64, 64, 3), level, dtype=np.uint8)).save(path)
        specs.append(str(path))
    cell = quality_cell(metrics=("content_loss",)).model_copy(update={"content": tuple(specs)})
    fields = evaluate_quality(load_stylizer(cell.model), cell, tmp_path / "images")
    levels = {
        read_image(tmp_path / pair["content_image"])[0, 0, 0].item() for pair in fields["per_pair"]
    }
    assert levels == {50, 200}


IMAGE_METRICS = ("content_loss", "style_loss", "style_loss_adain", "lpips", "ssim")


@pytest.mark.slow
def test_a_pair_has_the_values_that_it_has_alone(tmp_path, random_backbone):
    """Whatever was computed before it, and in whatever order the images come."""
    cell = quality_cell(
        metrics=IMAGE_METRICS, lpips_backbone=str(random_backbone), max_pairs=4
    ).model_copy(update={"style": tuple(f"builtin:{name}" for name in BUILTIN_STYLES[:2])})
    stylizer = load_stylizer(cell.model)

    def evaluated(**changes: Any) -> dict[tuple[str, str], dict[str, Any]]:
        changed = cell.model_copy(update=changes)
        pairs = evaluate_quality(stylizer, changed, tmp_path / "images")["per_pair"]
        return {(pair["content"], pair["style"]): pair for pair in pairs}

    together = evaluated()
    turned = evaluated(content=cell.content[::-1], style=cell.style[::-1])
    assert len(together) == 4
    assert turned.keys() == together.keys()
    for pair in together:
        for name in IMAGE_METRICS:
            assert turned[pair][name] == pytest.approx(together[pair][name], rel=1e-6)
    last = cell.content[1], cell.style[0]
    (alone,) = evaluated(content=last[:1], style=last[1:]).values()
    for name in IMAGE_METRICS:
        assert alone[name] == pytest.approx(together[last][name], rel=1e-6)


def plug_in(name: str, per: str, measure: Any) -> Metric:
    return Metric(
        name=name,
        better="lower",
        unit="",
        per=per,  # type: ignore[arg-type]
        needs=frozenset(),
        definition=f"{name} by {{network}}",
        prepare=lambda conditions: measure,
    )


@pytest.fixture
def plug_ins(monkeypatch):
    """Makes metrics known by their names."""

    def known(*metrics: Metric) -> tuple[str, ...]:
        found = {metric.name: metric for metric in metrics}
        find = catalogue.find_metric
        monkeypatch.setattr(evaluate, "find_metric", lambda name: found.get(name) or find(name))
        return tuple(found)

    return known


def test_metrics_of_other_packages(tmp_path, plug_ins):
    def red(pair: Pair) -> dict[str, float]:
        assert pair.output.shape == pair.content.shape == (1, 3, 64, 72)
        assert pair.style.shape == (1, 3, 80, 64)
        return {"red": pair.output[:, 0].mean().item(), "red_first": 1.0}

    def spread(pictures: PictureSet) -> dict[str, float]:
        lists = (pictures.outputs, pictures.contents, pictures.styles)
        means = [[read_image(path).mean() / 255 for path in paths] for paths in lists]
        pictures.notes["spread"] = f"{len(means[0])} pictures"
        return {"spread": float(np.ptp(means[0])), "spread_style": float(np.ptp(means[2]))}

    def refuse(_: object) -> dict[str, float]:
        raise UserError("too few")

    names = plug_ins(
        plug_in("red", "image", red),
        plug_in("spread", "set", spread),
        plug_in("many", "set", refuse),
    )
    cell = quality_cell(metrics=(*names, "ssim"))
    fields = evaluate_quality(load_stylizer(cell.model), cell, tmp_path / "images")
    record = Record(**draft_fields(cell), **fields, status="ok")
    assert record.quality_other is not None
    assert record.per_pair is not None
    assert set(record.quality_other) == {"red", "red_first", "spread", "spread_style"}
    reds = [pair["red"] for pair in record.per_pair]
    assert record.quality_other["red"] == pytest.approx(sum(reds) / 3)
    assert record.quality_other["spread"] > 0
    assert record.quality_notes == {"spread": "3 pictures"}
    assert record.metrics_absent == {"many": "too few"}
    assert record.ssim is not None
    assert record.quality_definitions is not None
    assert record.quality_definitions["red"].startswith("red by vgg16-normalised; output 72x64")
    assert "as one set" in record.quality_definitions["spread"]
    assert "many" not in record.quality_definitions


def test_a_metric_that_cannot_do_one_pair_is_absent_and_the_others_are_there(tmp_path, plug_ins):
    calls = []

    def shaky(pair: Pair) -> dict[str, float]:
        calls.append(pair)
        if len(calls) == 2:
            raise UserError("shaky: no face found")
        return {"shaky": 1.0, "shaky_low": 0.5}

    cell = quality_cell(metrics=(*plug_ins(plug_in("shaky", "image", shaky)), "ssim"))
    fields = evaluate_quality(load_stylizer(cell.model), cell, tmp_path / "images")
    record = Record(**draft_fields(cell), **fields, status="ok")
    assert record.metrics_absent == {"shaky": "shaky: no face found"}
    assert len(calls) == 2, "asked again after it could not be had"
    assert record.quality_other is None
    assert record.ssim is not None
    assert record.per_pair is not None
    assert len(record.per_pair) == 3
    for entry in record.per_pair:
        assert "ssim" in entry
        assert not any(key.startswith("shaky") for key in entry)
    assert "shaky" not in (record.quality_definitions or {})


def test_a_metric_may_not_write_under_another_name(tmp_path, plug_ins):
    names = plug_ins(plug_in("red", "image", lambda pair: {"lpips": 0.0}))
    cell = quality_cell(metrics=names)
    with pytest.raises(ValueError, match="'red' gives a value 'lpips'"):
        evaluate_quality(load_stylizer(cell.model), cell, tmp_path / "images")


def test_images_too_small_for_a_metric_are_a_reason(tmp_path):
    cell = quality_cell(metrics=("ms_ssim", "ssim"))
    fields = evaluate_quality(load_stylizer(cell.model), cell, tmp_path / "images")
    assert fields["metrics_absent"] == {"ms_ssim": "MS-SSIM needs images of at least 176 px a side"}
    assert 0 < fields["ssim"] < 1


@pytest.mark.slow
def test_the_project_s_set_metrics_are_computed(tmp_path):
    """On the embedded network, which is always there."""
    cell = quality_cell(metrics=("fd_vgg", "kd_vgg"))
    fields = evaluate_quality(load_stylizer(cell.model), cell, tmp_path / "images")
    assert fields["fd_vgg"] > 0
    assert fields["kd_vgg_low"] <= fields["kd_vgg"] <= fields["kd_vgg_high"]
    assert set(fields["quality_definitions"]) == {"fd_vgg", "kd_vgg"}
    assert fields["quality_other"] is None
