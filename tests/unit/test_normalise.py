"""A VGG as a teacher's folder: what is read as one, and what normalising leaves as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from distill.command_line import run_app
from distill.commands import app
from distill.networks import TEACHER_WIDTHS, Encoder, seed_weights
from distill.normalise import normalised, read_vgg
from distill.training.building import teacher_encoder


def state_dict(family: str, *, prefix: str, colours: bool) -> dict[str, torch.Tensor]:
    """As torchvision (``features.``) or the authors' code number a VGG's convolutions."""
    encoder = Encoder(family, TEACHER_WIDTHS, 5)
    seed_weights(encoder, 3)
    layers = [encoder.get_submodule(conv.name) for conv in encoder.description]
    tensors = {}
    for index, layer in enumerate([encoder.conv0, *layers] if colours else layers):
        tensors[f"{prefix}{3 * index}.weight"] = layer.weight.data
        tensors[f"{prefix}{3 * index}.bias"] = layer.bias.data
    return tensors


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for index in range(2):
        coarse = np.random.default_rng(index).integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((90, 80)).save(folder / f"{index}.png")
    return folder


def images() -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.rand(1, 3, 48, 64, generator=generator) for _ in range(2)]


def test_normalising_scales_channels_and_nothing_else(tmp_path: Path) -> None:
    torch.save(state_dict("vgg19", prefix="features.", colours=False), tmp_path / "vgg19.pth")
    plain, _ = read_vgg(str(tmp_path / "vgg19.pth"))
    assert plain.family == "vgg19"
    scaled = normalised(plain, iter(images()))
    layers = [f"relu{k}_1" for k in range(1, 6)]
    features = [
        list(zip(*(e.features(x, layers) for x in images()), strict=True)) for e in (plain, scaled)
    ]
    for ours, theirs in zip(*features, strict=True):
        before, after = (torch.cat(maps).transpose(0, 1).flatten(1) for maps in (ours, theirs))
        means = before.mean(1, keepdim=True)
        live = means[:, 0] > 0.01 * means.max()  # of one that hardly fires, rounding is a part
        torch.testing.assert_close(
            after[live].mean(1), torch.ones(int(live.sum())), rtol=1e-3, atol=1e-3
        )
        torch.testing.assert_close(after[live] * means[live], before[live], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("family", ["vgg16", "vgg19"])
def test_a_public_normalised_file_is_a_teacher_as_it_is(family: str, tmp_path: Path) -> None:
    tensors = state_dict(family, prefix="", colours=True)
    torch.save(tensors, tmp_path / "vgg_normalised.pth")
    out = tmp_path / "teacher"
    command = ["normalise", str(tmp_path / "vgg_normalised.pth"), str(out)]
    assert run_app(app, "distill", command) == 0
    encoder = teacher_encoder(family, 3, out)
    assert torch.equal(encoder.conv0.weight, tensors["0.weight"])
    assert torch.equal(encoder.get_parameter("conv1_1.weight"), tensors["3.weight"])
    assert run_app(app, "distill", command) == 2


def test_a_plain_file_wants_photographs(
    tmp_path: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(state_dict("vgg19", prefix="features.", colours=False), tmp_path / "vgg19.pth")
    command = ["normalise", str(tmp_path / "vgg19.pth"), str(tmp_path / "teacher")]
    assert run_app(app, "distill", command) == 2
    assert "give photographs to normalise it on with --photos" in capsys.readouterr().err
    assert run_app(app, "distill", [*command, "--photos", str(photos), "--limit", "1"]) == 0
    assert "--family vgg19 --ratio 1 --teacher" in capsys.readouterr().out
    assert teacher_encoder("vgg19", 1, tmp_path / "teacher").stage == 1


@pytest.mark.parametrize(
    "tensors", [{}, {"0.weight": torch.ones(8, 3, 3, 3), "0.bias": torch.ones(8)}]
)
def test_what_is_no_vgg_is_one_line(
    tensors: dict[str, torch.Tensor], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save(tensors, tmp_path / "other.pth")
    command = ["normalise", str(tmp_path / "other.pth"), str(tmp_path / "teacher")]
    assert run_app(app, "distill", command) == 2
    assert "holds no VGG-16 or VGG-19" in capsys.readouterr().err
    assert run_app(app, "distill", ["normalise", "nowhere", str(tmp_path / "teacher")]) == 2
    assert "no such file, and no name" in capsys.readouterr().err
