"""``distill train`` as a user runs it, at toy size: whole models, resume, several processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from distill.cli import app
from distill.command_line import run_app
from distill.header import read_header
from distill.weights import read_tensors

TOY = ["--steps", "3", "--batch", "2", "--crop", "16", "--device", "cpu", "--no-tensorboard"]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    for index in range(4):
        coarse = rng.integers(0, 255, (4, 5, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((40, 32)).save(folder / f"{index}.png")
    return folder


@pytest.fixture(scope="module")
def teacher(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "model"
    command = ["train", "--ratio", "1", "--data", str(photos), "--out", str(out), "--stages", "1,2"]
    assert run_app(app, "distill", [*command, *TOY]) == 0
    return out


def student_command(photos: Path, teacher: Path, out: Path) -> list[str]:
    return [
        "train",
        *("--ratio", "64", "--stages", "1,2", "--teacher", str(teacher)),
        *("--data", str(photos), "--out", str(out), *TOY),
    ]


@pytest.mark.parametrize("compressor", ["collaborative", "pruned", "fitnet", "scratch"])
def test_every_compressor_makes_a_student(
    compressor: str, photos: Path, teacher: Path, tmp_path: Path
) -> None:
    command = [*student_command(photos, teacher, tmp_path), "--compressor", compressor]
    assert run_app(app, "distill", command) == 0
    for stage in (1, 2):
        for role in ("encoder", "decoder"):
            tensors, metadata = read_tensors(tmp_path / f"stage{stage}-{role}.safetensors")
            header = read_header(metadata)
            assert header is not None
            assert (header.compressor, header.ratio, header.stage) == (compressor, 64, stage)
            assert (header.role, header.steps, header.batch) == (role, 3, 2)
            assert "4 images" in header.data
            assert all(value.isfinite().all() for value in tensors.values())
            has_embedding = any(key.startswith("embedding") for key in tensors)
            assert has_embedding == (
                role == "encoder" and compressor in ("collaborative", "fitnet")
            )


def test_adain_student_is_a_whole_model(photos: Path, tmp_path: Path) -> None:
    teacher = tmp_path / "teacher"
    common = ["--method", "adain", "--data", str(photos), "--styles", str(photos), *TOY]
    assert run_app(app, "distill", ["train", "--ratio", "1", "--out", str(teacher), *common]) == 0
    out = tmp_path / "student"
    command = ["train", "--ratio", "64", "--teacher", str(teacher), "--out", str(out), *common]
    assert run_app(app, "distill", command) == 0
    assert run_app(app, "distill", ["info", f"adain-vgg16-64x:{out}"]) == 0
    again = [*command, "--out", str(tmp_path / "again"), "--start", str(out)]
    assert run_app(app, "distill", [*again, "--loss-weight", "output=0"]) == 0
    terms = {
        folder: (folder / "training" / "stage4-decoder" / "log.csv").read_text().splitlines()[0]
        for folder in (out, tmp_path / "again")
    }
    assert "output" in terms[out]
    assert "output" not in terms[tmp_path / "again"]


def test_resume_makes_what_is_missing_and_nothing_else(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = student_command(photos, teacher, tmp_path)
    assert run_app(app, "distill", command) == 0
    before = {file.name: file.read_bytes() for file in tmp_path.glob("*.safetensors")}
    assert run_app(app, "distill", command) == 2
    assert "--resume" in capsys.readouterr().err
    (tmp_path / "stage2-decoder.safetensors").unlink()
    assert run_app(app, "distill", [*command, "--resume"]) == 0
    after = {file.name: load_file(file) for file in tmp_path.glob("*.safetensors")}
    assert after.keys() == before.keys()
    for name, content in before.items():
        (tmp_path / name).write_bytes(content)
        for key, value in load_file(tmp_path / name).items():
            assert torch.equal(value, after[name][key]), f"{name} {key}"


def test_encoders_alone_then_decoders(photos: Path, teacher: Path, tmp_path: Path) -> None:
    command = student_command(photos, teacher, tmp_path)
    assert run_app(app, "distill", [*command, "--only", "encoder"]) == 0
    encoders = {"stage1-encoder.safetensors", "stage2-encoder.safetensors"}
    assert {file.name for file in tmp_path.glob("*.safetensors")} == encoders
    assert run_app(app, "distill", [*command, "--only", "decoder"]) == 0
    assert len(list(tmp_path.glob("*.safetensors"))) == 4


def test_two_processes_train_the_same_model_as_one(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    environment = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    for prefix, out in ([], alone), (launch, shared):
        command = student_command(photos, teacher, out)
        subprocess.run(
            [sys.executable, *prefix, "-m", "distill.cli", *command, "--learning-rate", "1e-3"],
            check=True,
            env=environment,
            timeout=240,
        )
    for file in alone.glob("*.safetensors"):
        ours, theirs = load_file(file), load_file(shared / file.name)
        for key, value in ours.items():
            torch.testing.assert_close(value, theirs[key], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--ratio", "3"], "ratio: 3"),
        (["--compressor", "magic"], "'magic'"),
        (["--stages", "6"], "'6'"),
        (["--only", "stage"], "'stage'"),
        (["--only", "decoder"], "stage1-encoder.safetensors"),
        (["--crop", "20"], "multiple of 16"),
        (["--resize", "8"], "resize"),
        (["--minutes", "1"], "one of the two"),
        (["--data", "nowhere"], "nowhere"),
        (["--method", "adain", "--stages", "4"], "--styles"),
        (["--teacher", "nowhere"], "nowhere"),
        (["--loss-weight", "output=0"], "'output' is no loss term of wct"),
        (["--loss-weight", "pixel:2"], "'pixel:2' is no loss term of wct, which has embedding"),
        (["--loss-weight", "pixel=much"], "'pixel=much' is not of the form pixel=1.5"),
        (["--loss-weight", "pixel=-1"], "pixel=-1.0 is not 0 or above"),
        (["--device", "gpu"], "device: 'gpu'; allowed are auto, cpu, cuda and cuda:N"),
    ],
)
def test_wrong_use_is_one_line(
    extra: list[str],
    message: str,
    photos: Path,
    teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = student_command(photos, teacher, tmp_path / "out")
    assert run_app(app, "distill", [*command, *extra]) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert message in errors[-1]
    assert not any("Traceback" in line for line in errors)
