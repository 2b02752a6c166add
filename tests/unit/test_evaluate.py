"""`distill evaluate`: what is measured, against what, and what is said when it cannot be."""

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import typer
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file

from distill.cascades import convert_published, load_cascade, own_files
from distill.command_line import run_app
from distill.content_kept import ContentKept
from distill.devices import resolve_device
from distill.errors import EnvironmentUnfitError, UserError
from distill.evaluation import measure
from distill.evaluation.candidates import find_candidates
from distill.evaluation.command import evaluate as evaluate_command
from distill.evaluation.measure import Evaluation, Settings, evaluate, psnr, square
from distill.evaluation.summary import (
    COLUMNS,
    mean_interval,
    model_table,
    ratio_interval,
    replicate_groups,
)
from distill.header import Header, save_network
from distill.inference import Layout
from distill.models import parse_model
from distill.networks import Decoder, Encoder, count_macs_per_pixel, seed_weights, student_widths
from distill.pairs import draw_pairs
from distill.reference_losses import ReferenceLosses
from distill.stages import stylize_whole
from distill.training.data import list_images
from tests.plain import plain_stylize

SIZE = 64


@pytest.fixture(autouse=True, scope="module")
def empty_cache(tmp_path_factory) -> Iterator[None]:
    """No AlexNet in PyTorch's cache, whatever this machine has there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.hub, "get_dir", lambda: str(tmp_path_factory.getbasetemp() / "hub"))
        yield


def write_model(
    folder: Path,
    *,
    ratio: int,
    compressor: str,
    seed: int = 0,
    steps: int = 100,
    draw: int | None = None,
    data: str = "7 images, digest 0123456789abcdef",
    **said: Any,
) -> Path:
    """An AdaIN model of VGG-16, as training leaves it, with random values."""
    networks = (
        Encoder("vgg16", student_widths(ratio), 4),
        Decoder("vgg16", student_widths(ratio), 4, final_relu=False),
    )
    for network, path in zip(networks, own_files(folder, (4,))[0], strict=True):
        seed_weights(network, seed if draw is None else draw)
        role = path.stem.rpartition("-")[2]
        header = Header(
            "vgg16", "adain", ratio, 4, role, compressor, data=data, steps=steps, seed=seed, **said
        )
        save_network(path, network.state_dict(), header)
    return folder


def write_images(folder: Path, count: int, size: tuple[int, int] = (80, 70)) -> Path:
    folder.mkdir()
    rng = np.random.default_rng(len(folder.name))
    for index in range(count):
        low = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(low).resize(size, Image.Resampling.BICUBIC).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("images")
    return write_images(folder / "photographs", 5), write_images(folder / "styles", 2)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory, shared) -> str:
    return str(shared / "weights/lpips-alexnet-features.safetensors")


def run(models: list[Path | str], images: tuple[Path, Path], **settings) -> Evaluation:
    teachers = settings.pop("teachers", ())
    content, style = (list_images([folder]) for folder in images)
    given = Settings(size=SIZE, **settings)
    return evaluate([str(m) for m in models], content, style, given, teachers=teachers)


# ------------------------------------------------------------------------------------------- pairs


@given(st.integers(1, 12), st.integers(1, 9), st.integers(1, 100), st.integers(0, 99))
def test_pairs_are_distinct_even_and_sorted_by_style(contents, styles, count, seed):
    pairs = draw_pairs(contents, styles, count, seed=seed)
    assert len(set(pairs)) == len(pairs) == min(count, contents * styles)
    assert [style for _, style in pairs] == sorted(style for _, style in pairs)
    for position, images in ((0, contents), (1, styles)):
        used = Counter(pair[position] for pair in pairs)
        assert max(used.values()) - min(used.values()) <= 1
        assert len(used) == min(images, len(pairs))
        assert max(used) < images


def test_a_seed_draws_its_own_pairs():
    first, again, other = (draw_pairs(30, 7, 20, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert {content for content, _ in first} != {content for content, _ in other}


# ------------------------------------------------------------------------------------- definitions


def test_psnr_in_closed_form():
    image = torch.full((1, 3, 4, 4), 0.5)
    assert psnr(image, image + 0.1) == pytest.approx(20, abs=1e-4)
    assert psnr(image, image) == math.inf


@pytest.mark.parametrize("shape", [(60, 40), (40, 60), (20, 20), (41, 33)])
def test_a_picture_keeps_its_proportions_and_its_middle(shape):
    """A cross through the middle stays there, as wide as high."""
    width, height = shape
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(x - (width - 1) / 2, y - (height - 1) / 2)
    disc = np.where(distance < min(shape) / 4, 255, 0).astype(np.uint8)
    found = square(Image.fromarray(disc), 32)
    assert found.shape == (1, 3, 32, 32)
    assert 0 <= found.min() < 0.01 < 0.99 < found.max() <= 1
    mass = found[0, 0]
    for axis in (0, 1):
        line = mass.sum(axis)
        assert (line * torch.arange(32)).sum() / line.sum() == pytest.approx(15.5, abs=0.1)
    # A disc of a quarter of the shorter side in radius, so of 8 px.
    assert mass.sum() == pytest.approx(math.pi * 8**2, rel=0.06)


@given(st.floats(0.1, 10), st.integers(0, 2**20))
def test_the_ratio_to_a_scaled_teacher_is_the_scale_without_doubt(scale, seed):
    theirs = np.random.default_rng(seed).lognormal(size=20)
    assert ratio_interval(scale * theirs, theirs, seed=0) == pytest.approx((scale, scale))


def test_intervals_resample_pairs_of_model_and_teacher_together():
    """Pairs differ a hundredfold, the ratio in each is nearly the same: so is the interval."""
    rng = np.random.default_rng(0)
    theirs = rng.lognormal(0, 2, size=50)
    ours = theirs * rng.uniform(1.09, 1.11, size=50)
    low, high = ratio_interval(ours, theirs, seed=0)
    assert 1.09 < low < ours.mean() / theirs.mean() < high < 1.11
    low, high = mean_interval(theirs, seed=0)
    assert high > 1.3 * low


def test_the_interval_of_a_mean_is_that_of_the_normal_law():
    values = np.random.default_rng(1).normal(10, 2, size=400)
    low, high = mean_interval(values, seed=0)
    half = 1.96 * values.std(ddof=1) / 20
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.03)
    assert all(map(math.isnan, mean_interval(values[:1], seed=0)))


# ---------------------------------------------------------------------------------------- measured


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("models")
    return {
        "teacher": write_model(folder / "teacher", ratio=1, compressor="teacher", draw=3),
        "a": write_model(folder / "a", ratio=64, compressor="collaborative", seed=0, draw=5),
        "b": write_model(folder / "b", ratio=64, compressor="collaborative", seed=1, draw=6),
        "c": write_model(folder / "c", ratio=32, compressor="pruned", seed=0, draw=7),
    }


@pytest.fixture(scope="module")
def found(models, images, backbone) -> Evaluation:
    return run(list(models.values()), images, lpips_backbone=backbone)


@pytest.fixture(scope="module")
def table(found) -> pd.DataFrame:
    return model_table(found).set_index(pd.Index(found_names(found)))


def found_names(found: Evaluation) -> list[str]:
    return [Path(str(model.spec.weights)).name for model in found.models]


def test_headers_say_what_a_model_is(table):
    assert list(table.index) == ["teacher", "a", "b", "c"]
    assert list(table["ratio"]) == [1, 64, 64, 32]
    assert list(table["compressor"]) == ["teacher", "collaborative", "collaborative", "pruned"]
    assert list(table["seed"]) == ["0", "0", "1", "0"]
    assert list(table["steps"]) == [200] * 4
    assert set(table["teacher"]) == {table["model"]["teacher"]}


def test_costs_are_those_of_the_whole_model(table, models):
    for name in ("a", "c"):
        files = list(models[name].glob("*.safetensors"))
        assert table["storage_bytes"][name] == sum(path.stat().st_size for path in files)
        ratio = table["ratio"][name]
        widths = student_widths(ratio)
        encoder, decoder = (
            Encoder("vgg16", widths, 4),
            Decoder("vgg16", widths, 4, final_relu=False),
        )
        parameters = sum(p.numel() for net in (encoder, decoder) for p in net.parameters())
        assert table["parameters"][name] == parameters
        assert table["fp16_bytes"][name] == 2 * parameters
        macs = sum(count_macs_per_pixel("vgg16", widths, 4)) * SIZE**2
        assert table["gflops"][name] == pytest.approx(2 * macs / 1e9)


def test_values_are_those_of_the_plain_networks(found, images, models):
    """One pair, by the plain form of the networks and the transform, layer by layer."""
    row = next(row for row in found.rows if row["model"].endswith("c"))
    networks = load_cascade(parse_model(row["model"]))
    content, style = (square(Image.open(row[key]), SIZE) for key in ("content", "style"))
    losses = ReferenceLosses("vgg16-normalised", "cpu")
    with torch.inference_mode():
        pair = networks.pairs[0]
        rebuilt = pair.decoder(pair.encoder(content)).clamp(0, 1)
    assert row["reconstruction_psnr_relu4_1"] == pytest.approx(psnr(rebuilt, content), abs=1e-3)
    output = losses.features(plain_stylize(networks, "adain", content, style))
    expected = losses.content_loss(output, losses.features(content))
    assert row["content_loss"] == pytest.approx(expected, rel=1e-3)
    with torch.inference_mode():
        picture = plain_stylize(networks, "adain", content, style)
    assert row["content_kept"] == pytest.approx(ContentKept()(picture, content), abs=1e-3)
    layers = losses.style_losses(output, losses.features(style))
    assert row["style_loss"] == pytest.approx(sum(layers.values()), rel=1e-3)
    for layer, value in layers.items():
        assert row[f"style_loss_{layer}"] == pytest.approx(value, rel=1e-3)
    teacher = load_cascade(parse_model(f"adain-vgg16-1x:{models['teacher']}"))
    with torch.inference_mode():
        theirs = plain_stylize(teacher, "adain", content, style)
        ours = plain_stylize(networks, "adain", content, style)
    assert row["psnr_teacher"] == pytest.approx(psnr(ours, theirs), abs=1e-3)


def test_every_photograph_comes_once_and_means_are_over_pairs(found, table):
    rows = pd.DataFrame(found.rows)
    for name in table.index:
        own = rows[rows["model"] == table["model"][name]]
        assert own["content"].nunique() == len(own) == 5 == table["pairs"][name]
        for key in ("content_loss", "style_loss", "reconstruction_psnr_relu4_1"):
            assert table[key][name] == pytest.approx(own[key].mean())
            assert table[f"{key}_std"][name] == pytest.approx(own[key].std())
            assert table[f"{key}_low"][name] <= table[key][name] <= table[f"{key}_high"][name]


def test_losses_are_set_against_the_teachers(table):
    for key in ("content_loss", "style_loss"):
        for name in ("a", "b", "c"):
            expected = table[key][name] / table[key]["teacher"]
            assert table[f"{key}_ratio"][name] == pytest.approx(expected)
            assert table[f"{key}_ratio_low"][name] < expected < table[f"{key}_ratio_high"][name]
        assert table[f"{key}_ratio"]["teacher"] == 1
    assert (table["lpips_teacher"][["a", "b", "c"]] > 0).all()
    assert pd.isna(table["lpips_teacher"]["teacher"])
    assert "it is the teacher" in table["absent"]["teacher"]


def test_a_copy_of_the_teacher_is_as_good_as_the_teacher(models, images, backbone, tmp_path):
    copy = write_model(tmp_path / "copy", ratio=32, compressor="scratch", draw=7)
    found = run([copy], images, teachers=[str(models["c"])], lpips_backbone=backbone, pairs=2)
    row = model_table(found).iloc[1]
    assert row["teacher"] == f"adain-vgg16-32x:{models['c']}"
    assert row["content_loss_ratio"] == row["style_loss_ratio"] == 1
    assert row["lpips_teacher"] == 0
    assert row["psnr_teacher"] == math.inf


def test_models_that_differ_in_their_seed_alone_are_one_group(table, models, images, tmp_path):
    assert table["group"]["a"] == table["group"]["b"] != table["group"]["c"]
    # Of the same seed: they differ in something else, and neither stands for the other.
    longer = write_model(tmp_path / "longer", ratio=64, compressor="collaborative", draw=8)
    apart = model_table(run([models["a"], longer], images, pairs=1))
    assert apart["group"].nunique() == 2


@pytest.mark.parametrize(
    ("said", "compressor"),
    [
        ({"loss_weights": '{"embedding": 0.0, "content": 1.0}'}, "collaborative, embedding=0"),
        ({"command": "distill train --loss-weight embedding=0 --seed 1"}, "*, embedding=0"),
        ({"loss_weights": '{"embedding": 5.0}'}, "collaborative"),
        ({"variant": "embedding relu"}, "collaborative, embedding relu"),
        ({"learning_rate": 1e-3}, "collaborative"),
        ({"teacher": "0123456789abcdef"}, "collaborative"),
        ({"earlier_steps": 500}, "collaborative"),
    ],
)
def test_what_differs_in_more_than_its_seed_is_another_group(models, tmp_path, said, compressor):
    other = write_model(
        tmp_path / "other", ratio=64, compressor="collaborative", seed=7, **{"steps": 100} | said
    )
    found = find_candidates([str(models["a"]), str(models["b"]), str(other)])
    groups = replicate_groups(found)
    first, second, apart = (groups[one.name] for one in found)
    assert first == second
    assert apart != first
    assert found[2].compressor == compressor.replace("*", "collaborative")
    assert found[2].steps == 2 * (100 + said.get("earlier_steps", 0))


def test_what_is_finished_is_kept_when_memory_runs_out(
    models, images, tmp_path, monkeypatch, capsys
):
    calls = []

    def failing(*arguments: Any) -> Any:
        calls.append(None)
        if len(calls) > 4:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to")
        return stylize_whole(*arguments)

    monkeypatch.setattr(measure, "stylize_whole", failing)
    out = tmp_path / "out"
    arguments = ["--content", str(images[0]), "--style", str(images[1]), "--size", str(SIZE)]
    code = command(str(models["a"]), str(models["b"]), *arguments, "--out", str(out))
    assert code == 4
    error = capsys.readouterr().err
    assert "there is too little memory: give a smaller --size" in error
    assert "stopped after 2 of 5 pairs" in error
    assert "Traceback" not in error
    assert len(pd.read_csv(out / "pairs.csv")) == 4
    assert "This evaluation stopped after 2 of 5 pairs." in (out / "evaluate.md").read_text()


def test_the_page_has_the_gram_distance_of_each_layer(found, table):
    layers = [f"style_loss_relu{stage}_1" for stage in range(1, 6)]
    assert table[layers].sum(axis=1).to_numpy() == pytest.approx(table["style_loss"].to_numpy())


def test_pairs_repeat_photographs_without_counting_them_twice(models, images):
    found = run([models["a"]], images, pairs=9)
    row = model_table(found).iloc[0]
    assert (row["pairs"], row["photographs"]) == (9, 5)
    once = pd.DataFrame(found.rows).drop_duplicates("content")["reconstruction_psnr_relu4_1"]
    assert row["reconstruction_psnr_relu4_1"] == pytest.approx(once.mean())
    with pytest.raises(UserError, match="11 of 5 x 2 images; 10 at most"):
        run([models["a"]], images, pairs=11)


# ------------------------------------------------------------------------------------ what is left


def test_without_a_teacher_what_needs_none_is_there(models, images):
    row = model_table(run([models["a"]], images)).iloc[0]
    assert row["content_loss"] > 0
    assert pd.isna(row["content_loss_ratio"])
    assert pd.isna(row["lpips_teacher"])
    assert "no trained adain-vgg16-1x among the models" in row["absent"]


def test_without_lpips_the_rest_is_there(models, images, monkeypatch):
    def refuse(*_: object) -> None:
        raise UserError("AlexNet's file is damaged")

    monkeypatch.setattr("distill.evaluation.measure.Lpips", refuse)
    row = model_table(run([models["a"]], images, teachers=[str(models["c"])], pairs=2)).iloc[1]
    assert pd.isna(row["lpips_teacher"])
    assert "no LPIPS: AlexNet's file is damaged" in row["absent"]
    assert row["content_loss_ratio"] > 0
    assert row["psnr_teacher"] > 0


def test_a_backbone_asked_for_by_name_must_be_there(models, images):
    with pytest.raises(UserError, match=r"none\.pth: there is no such weights file"):
        run([models["a"]], images, teachers=[str(models["c"])], lpips_backbone="none.pth")


def test_random_weights_cost_something_and_are_worth_nothing(images, no_embedded_models, models):
    found = run(["adain-vgg16-1x", models["a"]], images, pairs=1)
    random, trained = (row for _, row in model_table(found).iterrows())
    assert random["weights"] == "random"
    assert random["parameters"] > trained["parameters"]
    assert random["photographs"] == random["pairs"] == 0
    assert pd.isna(random["content_loss"])
    assert "random weights" in random["absent"]
    # Nor is it a teacher.
    assert pd.isna(trained["content_loss_ratio"])
    with pytest.raises(UserError, match="teacher adain-vgg16-1x: has no trained weights"):
        run([models["a"]], images, teachers=["adain-vgg16-1x"])


def test_a_model_that_overflows_is_left_out_with_its_reason(models, images, tmp_path):
    folder = write_model(tmp_path / "wild", ratio=64, compressor="scratch")
    path = folder / "stage4-decoder.safetensors"
    tensors = load_file(path)
    for key in ("conv1_2.weight", "conv1_1.weight"):
        tensors[key] *= 1e25  # each is finite, what they make of an image is not
    save_network(path, tensors, Header("vgg16", "adain", 64, 4, "decoder", "scratch", steps=1))
    wild, sound = (row for _, row in model_table(run([folder, models["a"]], images)).iterrows())
    assert wild["pairs"] == 0
    assert pd.isna(wild["content_loss"])
    assert "5 pairs left out: the output holds values that are not finite" in wild["absent"]
    assert sound["pairs"] == 5


def test_a_teacher_can_be_named(models, images, tmp_path):
    other = write_model(tmp_path / "other", ratio=16, compressor="scratch", draw=4)
    found = run([models["teacher"], models["a"]], images, teachers=[str(other)], pairs=1)
    assert found_names(found) == ["other", "teacher", "a"]
    assert set(model_table(found)["teacher"]) == {f"adain-vgg16-16x:{other}"}
    with pytest.raises(UserError, match=r"no model is of its method and family.*wct-vgg19"):
        run(["wct-vgg19-16x"], images, teachers=[str(other)])
    with pytest.raises(UserError, match="give one of each method and family"):
        run([models["a"]], images, teachers=[str(other), str(models["teacher"])])


# ---------------------------------------------------------------------------------- what is a model


def test_published_and_converted_students_are_known(students, tmp_path):
    convert_published(students, tmp_path / "converted")
    published, converted = find_candidates([str(students), str(tmp_path / "converted")])
    assert published.spec == parse_model(f"wct-vgg19-16x:{students}")
    assert {published.compressor, converted.compressor} == {"collaborative"}
    assert published.seed == converted.seed == ""
    assert published.storage_bytes == sum(path.stat().st_size for path in students.glob("*S?.pth"))


def test_all_that_is_no_model_is_named_at_once(tmp_path, models):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError) as caught:
        find_candidates([str(tmp_path / "empty"), "adain-vgg16-5x", str(models["a"])])
    empty, misspelt = caught.value.problems
    assert "holds no weights" in empty
    assert "did you mean 'adain-vgg16-4x'?" in misspelt


def test_a_name_that_the_header_belies(models, tmp_path):
    with pytest.raises(UserError, match="named adain-vgg16-32x, but its header says adain-vgg16-6"):
        find_candidates([f"adain-vgg16-32x:{models['a']}"])
    again = find_candidates([str(models["a"]), f"adain-vgg16-64x:{models['a']}"])
    assert len(again) == 1


@pytest.mark.parametrize("name", ["cude", "cuda:x", "gpu"])
def test_devices_that_are_none(name):
    with pytest.raises(UserError, match="allowed are auto, cpu, cuda and cuda:N"):
        resolve_device(name)


def test_a_device_that_is_not_there():
    with pytest.raises(EnvironmentUnfitError):
        resolve_device("cuda:99")
    assert Layout.of(resolve_device("auto"), torch.float32).device.type in ("cpu", "cuda")


# ------------------------------------------------------------------------------------- the command


def command(*arguments: str) -> int:
    app = typer.Typer()
    app.command()(evaluate_command)
    return run_app(app, "distill evaluate", arguments)


def test_the_command_writes_tables_and_a_page(models, images, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    unequal = write_model(tmp_path / "unequal", ratio=64, compressor="scratch", steps=50)
    photographs = list_images([images[0]])
    seen = write_model(
        tmp_path / "seen",
        ratio=16,
        compressor="fitnet",
        data=f"5 images, digest {photographs.digest()}",
    )
    code = command(
        *(str(folder) for folder in (*models.values(), unequal, seen)),
        *("--content", str(images[0]), "--style", str(images[1]), "--size", "72"),
        *("--out", str(out), "--quiet", "--device", "cpu"),
    )
    assert code == 0
    written = pd.read_csv(out / "evaluate.csv")
    assert tuple(written.columns) == COLUMNS
    assert len(written) == 6
    assert len(pd.read_csv(out / "pairs.csv")) == 6 * 5
    page = (out / "evaluate.md").read_text(encoding="utf-8")
    for words in (
        "5 pairs of 5 photographs and 2 styles",
        "72x72 px",
        "adain-vgg16-64x:unequal",
        "GFLOPs at 72x72",
        "models that differ in their seed alone",
        "smaller than 72 px, and so were enlarged: 7.",
        "adain-vgg16-64x: unequal training steps: collaborative 200, scratch 100.",
        "These photographs are what adain-vgg16-16x:seen was trained on: not held out.",
        "LPIPS to teacher: version 0.1, AlexNet (embedded, float16 and int8), between",
    ):
        assert words in page
    assert "nan" not in page
    assert f"bench report {out}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--size", "40"), "size: 40 pixels; LPIPS needs at least 64"),
        (("--pairs", "0"), "pairs: 0; at least 1 is needed"),
        (("--network", "vgg"), "unknown weights 'vgg'"),
        (("--content", "/there/is/none"), "/there/is/none: there is no such folder or file"),
    ],
)
def test_bad_options_are_one_line_each(models, images, tmp_path, capsys, options, message):
    arguments = ["--content", str(images[0]), "--style", str(images[1]), "--out", str(tmp_path)]
    if "--content" in options:
        arguments = arguments[2:]
    assert command(str(models["a"]), *arguments, "--quiet", *options) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert message in errors[0]
    assert not (tmp_path / "evaluate.csv").exists()
