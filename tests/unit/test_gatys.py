"""Style transfer by optimisation: the loss, the network behind it, and the command."""

import math
import re
from pathlib import Path

import pytest
import torch
import typer
from PIL import Image
from safetensors.torch import save_file

from distill.cascades import load_cascade, own_files
from distill.command_line import run_app
from distill.errors import UserError
from distill.gatys.command import gatys
from distill.gatys.loss_network import LossNetwork, load_loss_network
from distill.gatys.optimise import Layers, Weights, optimise
from distill.models import parse_model
from distill.networks import Encoder, seed_weights, student_widths
from distill.pictures import read_rgb, save_rgb
from distill.reference_losses import STYLE_LAYERS, ImageFeatures, ReferenceLosses
from distill.weights import load_named

pytestmark = pytest.mark.numerical


def network(ratio: int = 64, stage: int = 5, seed: int = 0) -> LossNetwork:
    """A random student's encoder, frozen."""
    encoder = Encoder("vgg16", student_widths(ratio), stage)
    seed_weights(encoder, seed)
    return LossNetwork("random student", encoder.requires_grad_(False))


def picture(seed: int, height: int = 32, width: int = 32) -> torch.Tensor:
    """Soft random colours, (1, 3, H, W) in 0..1."""
    coarse = torch.rand((1, 3, 5, 5), generator=torch.Generator().manual_seed(seed))
    size = (height, width)
    return torch.nn.functional.interpolate(coarse, size, mode="bilinear", align_corners=False)


# --- The optimisation -----------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["content", "noise"])
def test_the_loss_falls_by_more_than_90_percent(init):
    weights = Weights(style=1e6)  # a random network's features are faint
    result = optimise(picture(1), picture(2), network(), weights=weights, steps=30, init=init)
    totals = [losses.total for losses in result.curve]
    assert totals[-1] < 0.1 * totals[0]
    assert len(totals) == 31
    assert result.evaluations >= 31


def test_the_picture_stays_in_range_even_if_the_style_lies_at_its_edge():
    style = picture(2).round()  # black, white and pure colours: the optimum is beyond the range
    result = optimise(picture(1), style, network(), steps=30)
    assert 0 <= result.image.min() <= result.image.max() <= 1
    # And the loss that is stated is that of the picture that is returned.
    again = optimise(result.image, style, network(), weights=Weights(content=0), steps=1)
    assert again.curve[0].style == pytest.approx(result.curve[-1].style, rel=1e-4)


def test_content_that_has_the_style_already_is_left_as_it_is():
    image = picture(1)
    result = optimise(image, image, network(), steps=5)
    assert result.curve[0].total == 0
    assert torch.equal(result.image, image)


def test_only_the_picture_gets_a_gradient():
    encoder = Encoder("vgg16", student_widths(64), 5)  # not frozen by its maker
    seed_weights(encoder, 0)
    before = {key: value.clone() for key, value in encoder.state_dict().items()}
    content = picture(1).requires_grad_()
    result = optimise(content, picture(2), LossNetwork("trainable", encoder), steps=2)
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert all(torch.equal(before[key], value) for key, value in encoder.state_dict().items())
    assert content.grad is None
    assert not result.image.requires_grad
    assert not torch.equal(result.image, content)


def test_the_same_seed_gives_the_same_picture_and_another_seed_another():
    def painted(init: str, seed: int) -> torch.Tensor:
        return optimise(
            picture(1), picture(2), network(), steps=3, init=init, seed=seed
        ).image  # fmt: skip

    assert torch.equal(painted("noise", 1), painted("noise", 1))
    assert not torch.equal(painted("noise", 1), painted("noise", 2))
    assert not torch.equal(painted("noise", 1), painted("content", 1))
    assert torch.equal(painted("content", 1), painted("content", 2))


def test_weights_choose_what_is_matched():
    content, style, student = picture(1), picture(2), network()
    start = optimise(content, style, student, steps=1, init="noise")
    to_content = optimise(content, style, student, weights=Weights(style=0), steps=20, init="noise")
    assert to_content.curve[-1].content < 0.1 * start.curve[0].content
    assert to_content.curve[0].style == 0
    smooth = optimise(content, style, student, weights=Weights(total_variation=1e4), steps=20)
    plain = optimise(content, style, student, steps=20)
    roughness = [image.diff(dim=-1).square().mean() for image in (smooth.image, plain.image)]
    assert roughness[0] < 0.5 * roughness[1]


def test_with_the_teacher_the_loss_is_that_of_the_quality_metrics():
    teacher = LossNetwork("teacher", load_named("vgg16-normalised"))
    content, style = picture(1, 24, 40), picture(2, 32, 20)
    result = optimise(content, style, teacher, steps=1)
    judge = ReferenceLosses("vgg16-normalised", "cpu")
    images = [judge.features(image) for image in (content, style, result.image)]
    for losses, image in zip(result.curve, (images[0], images[2]), strict=True):
        style_loss = sum(judge.style_losses(image, images[1]).values())
        assert losses.style == pytest.approx(1000 * style_loss, rel=1e-4)
        assert losses.content == pytest.approx(judge.content_loss(image, images[0]), rel=1e-4)


def test_progress_is_told_from_the_start_to_the_last_step():
    told: list[tuple[int, float]] = []
    result = optimise(
        picture(1),
        picture(2),
        network(),
        steps=4,
        report=lambda step, losses: told.append((step, losses.total)),
    )
    assert told == list(enumerate(losses.total for losses in result.curve))


def test_a_shallow_network_is_compared_where_it_has_layers():
    shallow = network(stage=4)
    assert Layers.of(shallow).style == STYLE_LAYERS[:4]
    assert Layers.of(network(stage=2)) == Layers(("relu2_1",), ("relu1_1", "relu2_1"))
    assert optimise(picture(1), picture(2), shallow, steps=1).curve[1].total > 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"content": torch.rand(3, 8, 8)}, "content image: must be (1, 3, H, W)"),
        ({"style": torch.full((1, 3, 8, 8), math.nan)}, "style image: values must be finite"),
        ({"style": torch.full((1, 3, 8, 8), 255.0)}, "style image: values must be finite and in"),
        ({"layers": Layers(("relu4_1",), ("relu6_1",))}, "'relu6_1'"),
        ({"steps": 0}, "steps: must be 1 or more"),
        ({"init": "nosie"}, "content or noise"),
    ],
)
def test_wrong_arguments_are_named(change, says):
    arguments = {"content": picture(1), "style": picture(2), "network": network(), **change}
    with pytest.raises(UserError, match=re.escape(says)):
        optimise(**arguments)


@pytest.mark.parametrize("values", [(-1, 1, 0), (1, math.inf, 0), (1, 1, math.nan), (0, 0, 1)])
def test_weights_that_mean_nothing_are_refused(values):
    with pytest.raises(UserError, match="weight"):
        Weights(*values)


def test_only_the_ratio_of_weights_matters():
    weights = [Weights(1.0 * scale, 1000.0 * scale) for scale in (1, 2.0**100)]
    results = [optimise(picture(1), picture(2), network(), weights=w, steps=3) for w in weights]
    assert torch.equal(results[0].image, results[1].image)


def test_a_loss_that_is_no_number_stops_with_the_terms():
    wild = network()
    wild.encoder.get_submodule("conv1_1").weight.data *= 1e15
    with pytest.raises(UserError, match=r"not a finite number at evaluation 1 .*style inf"):
        optimise(picture(1), picture(2), wild)


# --- The network ----------------------------------------------------------------------------------


def test_matching_makes_the_loss_blind_to_the_scale_of_features():
    """Doubling conv2_1 and halving what reads it changes relu2_1 and nothing else."""
    images = picture(1), picture(2)
    teacher = network(ratio=16, seed=7)
    plain, scaled = network(), network()
    convs = {
        conv.name: scaled.encoder.get_submodule(conv.name) for conv in plain.encoder.description
    }
    for part in (convs["conv2_1"].weight, convs["conv2_1"].bias):
        part.data *= 8
    convs["conv2_2"].weight.data /= 8
    unmatched = [optimise(*images, net, steps=1).curve[0].style for net in (plain, scaled)]
    assert unmatched[1] != pytest.approx(unmatched[0], rel=0.1)
    matched = [net.matched_to(teacher, images) for net in (plain, scaled)]
    first, second = (optimise(*images, net, steps=1) for net in matched)
    assert second.curve[0].style == pytest.approx(first.curve[0].style, rel=1e-4)
    assert torch.allclose(first.image, second.image, atol=1e-4)
    assert teacher.matched_to(teacher, images).scales == pytest.approx(
        dict.fromkeys(STYLE_LAYERS, 1.0)
    )


def test_a_network_of_repeated_channels_counts_like_the_narrow_one_would():
    """Gram matrices over C * H * W shrink with the width; the factor takes that back."""
    narrow, wide = Encoder("vgg16", (16,), 1), Encoder("vgg16", (64,), 1)
    seed_weights(narrow, 0)
    state = {key: value.clone() for key, value in narrow.state_dict().items()}
    for key in ("conv1_1.weight", "conv1_1.bias"):
        state[key] = torch.cat([state[key]] * 4)
    wide.load_state_dict(state)
    losses = [
        optimise(picture(1), picture(2), LossNetwork("any", net), steps=1).curve[0]
        for net in (narrow, wide)
    ]
    assert losses[0].style == pytest.approx(losses[1].style, rel=1e-5)
    assert losses[0].style > 0


def save_model(folder: Path, embeddings: bool = True) -> str:
    """A random student's folder; its name."""
    spec = parse_model("adain-vgg16-64x")
    (pair,) = load_cascade(spec, seed=3).pairs
    ((encoder_file, decoder_file),) = own_files(folder, (4,))
    tensors = dict(pair.encoder.state_dict())
    if embeddings:
        for block, width in enumerate(pair.encoder.widths, start=1):
            tensors[f"embedding{block}_1.weight"] = torch.eye(64 * 2, width)[:, :, None, None]
            tensors[f"embedding{block}_1.bias"] = torch.ones(128)
    save_file(tensors, encoder_file)
    save_file(pair.decoder.state_dict(), decoder_file)
    return f"{spec}:{folder}"


def test_embedded_features_are_the_students_through_its_embeddings(tmp_path):
    name = save_model(tmp_path)
    own, embedded = load_loss_network(name), load_loss_network(name, embedded=True)
    assert embedded.layers == STYLE_LAYERS[:4]
    layers = ("relu1_1", "relu4_1")
    found, mapped = own.features(picture(1), layers), embedded.features(picture(1), layers)
    for layer in layers:
        width = found[layer].shape[1]
        assert mapped[layer].shape[1] == 128
        assert torch.allclose(mapped[layer][:, :width], found[layer] + 1, atol=1e-5)
        assert torch.equal(mapped[layer][:, width:], torch.ones_like(mapped[layer][:, width:]))


@pytest.mark.parametrize(
    ("name", "embedded", "says"),
    [
        ("vgg16-normalized", False, "or vgg16-normalised"),
        ("wct-vgg16-17x", False, "did you mean 'wct-vgg16-16x'?"),
        ("wct-vgg19-2x", False, "no trained weights"),
        ("adain-vgg16-64x:nowhere", False, "no folder nowhere"),
        ("vgg16-normalised", True, "has no embeddings"),
    ],
)
def test_a_model_that_cannot_judge_is_refused(name, embedded, says):
    with pytest.raises(UserError, match=re.escape(says)):
        load_loss_network(name, embedded=embedded)


def test_a_file_without_embeddings_says_so(tmp_path):
    name = save_model(tmp_path, embeddings=False)
    with pytest.raises(UserError, match=r"stage4-encoder\.safetensors holds no embedding1_1"):
        load_loss_network(name, embedded=True)


def test_the_teachers_encoder_is_found_by_its_models_name():
    by_model, by_name = load_loss_network("wct-vgg16-1x"), load_loss_network("vgg16-normalised")
    layers = ("relu1_1", "relu5_1")
    found, named = (net.features(picture(1), layers) for net in (by_model, by_name))
    assert all(torch.equal(found[layer], named[layer]) for layer in layers)


def test_the_published_students_have_embeddings_near_the_teachers_width(students):
    name = f"wct-vgg19-16x:{students}"
    embedded = load_loss_network(name, embedded=True)
    found = embedded.features(picture(1), STYLE_LAYERS)
    assert [features.shape[1] for features in found.values()] == [64, 128, 256, 512, 512]
    teacher = LossNetwork("teacher", load_named("vgg16-normalised"))
    student = load_loss_network(name).matched_to(teacher, (picture(1), picture(2)))
    result = optimise(picture(1), picture(2), student, steps=60)
    assert result.curve[-1].total < 0.1 * result.curve[0].total


# --- The command ----------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    app = typer.Typer(pretty_exceptions_enable=False)
    app.command()(gatys)
    return run_app(app, "distill gatys", arguments)


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str]:
    """A content and a style picture, neither square nor of one size."""
    content, style = tmp_path / "content.png", tmp_path / "style.jpg"
    save_rgb(picture(1, 40, 64), content)
    save_rgb(picture(2, 48, 32), style)
    return str(content), str(style)


def test_the_command_paints_a_picture_and_states_the_losses_in_the_teachers_space(
    files, tmp_path, capsys
):
    out, model = tmp_path / "out.png", save_model(tmp_path)
    code = run(*files, "-o", str(out), "--model", model, "--steps", "3", "--size", "48",
               "--device", "cpu")  # fmt: skip
    assert code == 0
    assert read_rgb(out).shape == (1, 3, 30, 48)
    said = capsys.readouterr().out
    assert "48x30" in said
    assert "3 steps" in said
    judge = ReferenceLosses("vgg16-normalised", "cpu")
    content, style = read_rgb(files[0], longer=48), read_rgb(files[1], longer=48)
    before, target = judge.features(content), judge.features(style)
    row = next(line for line in said.splitlines() if line.strip().startswith("content image"))
    stated = [float(word) for word in row.split()[2:]]
    assert stated == [0, pytest.approx(sum(judge.style_losses(before, target).values()), rel=1e-3)]


def test_a_turned_tiff_is_painted_upright_and_not_squashed(files, tmp_path):
    stored = (picture(1, 32, 48)[0].permute(1, 2, 0) * 255).round().to(torch.uint8).numpy()
    Image.fromarray(stored).save(tmp_path / "turned.tif", tiffinfo={274: 6})
    out = tmp_path / "out.png"
    code = run(str(tmp_path / "turned.tif"), files[1], "-o", str(out), "--steps", "1",
               "--model", save_model(tmp_path), "--content-weight", "1", "--quiet",
               "--style-weight", "0.000001", "--device", "cpu")  # fmt: skip
    assert code == 0
    assert read_rgb(out).shape == (1, 3, 48, 32)
    expected = torch.from_numpy(stored).rot90(-1, (0, 1)).permute(2, 0, 1)[None] / 255
    assert (read_rgb(out) - expected).abs().mean() < 0.02


def test_the_losses_that_are_stated_are_computed_in_full_float32(files, tmp_path, monkeypatch):
    features, allowed = ReferenceLosses.features, []

    def watched(judge: ReferenceLosses, image: torch.Tensor) -> ImageFeatures:
        allowed.append(torch.backends.cudnn.allow_tf32)
        return features(judge, image)

    monkeypatch.setattr(ReferenceLosses, "features", watched)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # PyTorch's default
    assert run(*files, "-o", str(tmp_path / "o.png"), "--model", save_model(tmp_path), "--steps",
               "1", "--size", "16x32", "--device", "cpu") == 0  # fmt: skip
    assert allowed == [False, False, False]


def test_quiet_prints_nothing(files, tmp_path, capsys):
    model = save_model(tmp_path)
    code = run(*files, "-o", str(tmp_path / "o.png"), "--model", model, "--steps", "1", "--size",
               "16x32", "-q", "--embedded", "--device", "cpu")  # fmt: skip
    assert code == 0
    assert read_rgb(tmp_path / "o.png").shape == (1, 3, 32, 16)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--steps", "0"], "--steps: must be 1 or more; got 0"),
        (["--init", "nosie"], "--init: must be content or noise"),
        (["--size", "big"], "--size: a size is the longer side"),
        (["--size", "8"], "--size: each side must be 16 to"),
        (["--style-size", "999999"], "--style-size: each side must be 16 to"),
        (["--style-weight=-1"], "style weight: must be a finite number"),
        (["--device", "gpu"], "device: 'gpu'"),
        (["--model", "wct-vgg16-16"], "did you mean 'wct-vgg16-16x'?"),
    ],
)
def test_wrong_options_end_in_one_line_and_code_2(arguments, says, files, tmp_path, capsys):
    assert run(*files, "-o", str(tmp_path / "out.png"), *arguments) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out.png").exists()


def test_a_picture_that_is_read_is_not_overwritten(files, capsys):
    before = Path(files[0]).read_bytes()
    assert run(*files, "-o", files[0], "--steps", "1") == 2
    assert "would overwrite" in capsys.readouterr().err
    assert Path(files[0]).read_bytes() == before


@pytest.mark.gpu
def test_on_cuda_the_first_loss_is_the_cpus_and_it_falls():
    content, style, student = picture(1), picture(2), network()
    here = optimise(content, style, student, steps=1)
    there = optimise(content.cuda(), style.cuda(), student.to("cuda"), steps=30)
    assert there.image.is_cuda
    assert there.curve[0].total == pytest.approx(here.curve[0].total, rel=1e-2)
    assert there.curve[-1].total < 0.5 * there.curve[0].total
