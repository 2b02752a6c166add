"""The teacher's outputs: whose they are, that they are made once, and when there are none."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from bench.cells import Cell, MeasureSettings, QualitySettings
from bench.errors import UserError
from bench.image_tensors import load_tensor
from bench.quality import teacher as module
from bench.quality.evaluate import evaluate_quality
from bench.quality.teacher import Teacher
from bench.stylizers import load_stylizer
from bench.units import Size
from distill.cascades import load_cascade, own_files
from distill.models import parse_model

PAIR = ("builtin:chelsea", "builtin")


@pytest.fixture
def model(tmp_path) -> str:
    """A model with a folder of weights, as a teacher has to be."""
    return with_weights("adain-vgg16-32x", tmp_path / "weights", seed=1)


def with_weights(name: str, folder: Path, *, seed: int) -> str:
    spec = parse_model(name)
    folder.mkdir()
    pairs = load_cascade(spec, seed=seed).pairs
    for pair, files in zip(pairs, own_files(folder, spec.stages), strict=True):
        save_file(pair.encoder.state_dict(), files[0])
        save_file(pair.decoder.state_dict(), files[1])
    return f"{name}:{folder}"


def quality_cell(teacher: str | None, **fields: object) -> Cell:
    return Cell(
        **{
            "kind": "quality",
            "model": "adain-vgg16-32x",
            "execution": "whole",
            "precision": "fp32",
            "device": "cpu",
            "width": 72,
            "height": 65,
            "style_width": 64,
            "style_height": 80,
            "memory_cap_bytes": None,
            "alpha": 0.7,
            "seed": 0,
            "threads": None,
            "content": PAIR[:1],
            "style": PAIR[1:],
            "measure": MeasureSettings(
                warmup=0, min_repeats=1, max_repeats=1, target_ci=0.1, cell_time_limit_s=60
            ),
            "quality": QualitySettings(
                metrics=("psnr_teacher",),
                network="vgg16-normalised",
                lpips_backbone="cache",
                max_pairs=1,
                teacher=teacher,
            ),
            "weights_digest": "",
            "code_version": "1",
            **fields,
        }
    )


@pytest.fixture(scope="module")
def student():
    return load_stylizer("adain-vgg16-32x")


def plain_output(model: str, cell: Cell) -> torch.Tensor:
    stylizer = load_stylizer(model)
    content = load_tensor(PAIR[0], Size(cell.width, cell.height), role="content")
    style = load_tensor(PAIR[1], Size(cell.style_width, cell.style_height), role="style")
    return stylizer.stylize(content, stylizer.encode_style(style), cell.alpha)


def test_the_output_is_the_teacher_s(student, model, tmp_path):
    cell = quality_cell(model)
    teacher = Teacher(cell, student, tmp_path / "teacher")
    teacher.prepare([PAIR])
    output = teacher.output(PAIR)
    assert output.dtype == torch.float32
    torch.testing.assert_close(output, plain_output(model, cell), rtol=0, atol=1e-5)


def test_an_output_is_made_once_for_a_run(student, model, tmp_path, monkeypatch):
    Teacher(quality_cell(model), student, tmp_path / "teacher").prepare([PAIR])

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("made again")

    monkeypatch.setattr(module, "load_stylizer", refuse)
    # However the student is run, the teacher is the same.
    for fields in ({}, {"execution": "strips"}, {"precision": "bf16"}, {"model": "adain-vgg16-8x"}):
        Teacher(quality_cell(model, **fields), student, tmp_path / "teacher").prepare([PAIR])
    for fields in ({"alpha": 0.5}, {"width": 80}, {"code_version": "2"}, {"style_width": 60}):
        other = Teacher(quality_cell(model, **fields), student, tmp_path / "teacher")
        with pytest.raises(AssertionError, match="made again"):
            other.prepare([PAIR])


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY damaged", None])
def test_what_is_damaged_is_made_again(student, model, tmp_path, content):
    teacher = Teacher(quality_cell(model), student, tmp_path / "teacher")
    teacher.prepare([PAIR])
    (file,) = (tmp_path / "teacher").iterdir()
    good = np.load(file)
    if content is None:
        np.save(file, good[:, :, :10])
    else:
        file.write_bytes(content)
    teacher.prepare([PAIR])
    np.testing.assert_array_equal(np.load(file), good)


def test_a_failure_leaves_no_file(student, model, tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("in between")

    monkeypatch.setattr(module, "stylize_rows", fail)
    with pytest.raises(RuntimeError, match="in between"):
        Teacher(quality_cell(model), student, tmp_path / "teacher").prepare([PAIR])
    assert list((tmp_path / "teacher").iterdir()) == []


def test_no_teacher_without_trained_weights(student, no_embedded_models, tmp_path):
    with pytest.raises(UserError, match="adain-vgg16-1x has no trained weights here"):
        Teacher(quality_cell(None), student, tmp_path)


def test_the_default_teacher_is_found_when_it_has_weights(student, model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "default_teacher", lambda _: model)
    assert Teacher(quality_cell(None), student, tmp_path).model == model


def test_a_model_is_not_its_own_teacher(model, tmp_path):
    stylizer = load_stylizer(model)
    with pytest.raises(UserError, match="its own teacher"):
        Teacher(quality_cell(model, model=model), stylizer, tmp_path)
    # What another precision or the thumbnail's scheme changes is worth a comparison.
    Teacher(quality_cell(model, model=model, precision="bf16"), stylizer, tmp_path)
    Teacher(quality_cell(model, model=model, execution="thumbnail"), stylizer, tmp_path)


def test_too_little_memory_for_the_teacher_is_a_reason(model, tmp_path):
    stylizer = load_stylizer("adain-vgg16-32x", memory_bytes=10**6)
    teacher = Teacher(quality_cell(model), stylizer, tmp_path / "teacher")
    with pytest.raises(UserError, match="at the least"):
        teacher.prepare([PAIR])


def test_arithmetic_stays_as_the_student_s(student, model, tmp_path):
    """Loading a model sets TF32 for the whole process."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True
    try:
        Teacher(quality_cell(model), student, tmp_path / "teacher").prepare([PAIR])
        assert torch.backends.cudnn.allow_tf32
    finally:
        torch.backends.cudnn.allow_tf32 = before


def test_evaluation_compares_with_it(student, model, tmp_path):
    cell = quality_cell(model)
    fields = evaluate_quality(student, cell, tmp_path / "images")
    ours, theirs = plain_output("adain-vgg16-32x", cell), plain_output(model, cell)
    error = (ours - theirs).double().square().mean().item()
    assert fields["psnr_teacher"] == pytest.approx(-10 * np.log10(error), abs=1e-3)
    assert fields["quality_teacher"] == model
    assert fields["metrics_absent"] is None


def test_evaluation_goes_on_without_it(student, no_embedded_models, tmp_path):
    settings = quality_cell(None).quality
    assert settings is not None
    wanted = settings.model_copy(update={"metrics": ("psnr_teacher", "ssim")})
    fields = evaluate_quality(student, quality_cell(None, quality=wanted), tmp_path / "images")
    assert "psnr_teacher" not in fields
    assert list(fields["metrics_absent"]) == ["psnr_teacher"]
    assert "no trained weights" in fields["metrics_absent"]["psnr_teacher"]
    assert list(fields["quality_definitions"]) == ["ssim"]
    assert fields["quality_teacher"] is None
    assert not (tmp_path / "teacher").exists()
