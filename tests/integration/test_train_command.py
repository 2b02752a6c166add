"""``distill train`` as a user runs it, at toy size: whole models, resume, several processes."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from accelerate.state import AcceleratorState
from PIL import Image
from safetensors.torch import load_file

from distill.command_line import run_app
from distill.commands import app
from distill.header import read_header
from distill.training import loop
from distill.training.checkpoints import save_checkpoint
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


def test_resume_of_a_finished_model_says_so(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*student_command(photos, teacher, tmp_path), "--stages", "1", "--only", "encoder"]
    assert run_app(app, "distill", command) == 0
    assert "wrote 1 network, as far as asked; a wct-vgg16-64x needs 9" in capsys.readouterr().out
    assert run_app(app, "distill", [*command, "--resume"]) == 0
    assert "complete already" in capsys.readouterr().out


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("then", "now", "says"),
    [
        (
            "scratch",
            ["--compressor", "collaborative"],
            "compressor scratch then, collaborative now",
        ),
        ("scratch", ["--compressor", "pruned"], "compressor scratch then, pruned now"),
        ("pruned", ["--ratio", "32"], "64"),
        ("pruned", ["--data", "{extra}"], "data 4 images"),
    ],
)
def test_another_training_is_not_resumed(
    then: str,
    now: list[str],
    says: str,
    finished: bool,
    photos: Path,
    teacher: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Its files would state what is not so."""
    out, extra = tmp_path / "out", tmp_path / "extra.png"
    Image.new("RGB", (40, 40)).save(extra)
    command = [*student_command(photos, teacher, out), "--stages", "1", "--compressor", then]
    assert run_app(app, "distill", [*command, "--only", "encoder"]) == 0
    if not finished:
        (out / "stage1-encoder.safetensors").unlink()
        (out / "training/stage1-encoder/joint-decoder.safetensors").unlink()
    before = {file: file.read_bytes() for file in out.rglob("*") if file.is_file()}
    other = [part.format(extra=extra) for part in now]
    assert run_app(app, "distill", [*command, *other, "--resume"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in error
    assert "give the same, or another --out" in error
    assert {file: file.read_bytes() for file in out.rglob("*") if file.is_file()} == before


def test_a_decoder_is_not_made_on_the_encoder_of_another_compressor(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*student_command(photos, teacher, tmp_path), "--stages", "1"]
    first = [*command, "--compressor", "scratch", "--only", "encoder"]
    assert run_app(app, "distill", first) == 0
    assert run_app(app, "distill", [*command, "--only", "decoder"]) == 2
    assert "compressor scratch then, collaborative now" in capsys.readouterr().err


def test_a_start_may_have_encoders_alone_but_not_nothing(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def command(name: str, *extra: str) -> list[str]:
        return [*student_command(photos, teacher, tmp_path / name), "--stages", "1", *extra]

    features = ["--compressor", "fitnet", "--only", "encoder"]
    assert run_app(app, "distill", command("features", *features)) == 0
    start = ["--start", str(tmp_path / "features")]
    assert run_app(app, "distill", command("student", *start)) == 0
    assert "features has no stage1-decoder: begun as without --start" in capsys.readouterr().err
    for name, extra, says in (
        ("a", [*start, "--only", "decoder"], "has none of the networks to be made: stage1-decoder"),
        ("b", [*start, "--ratio", "16"], "has no layer of the shape wanted here"),
        ("c", ["--start", str(tmp_path / "feature")], "there is no folder"),
    ):
        assert run_app(app, "distill", command(name, *extra)) == 2
        assert says in capsys.readouterr().err.strip().splitlines()[-1]


def test_an_unreadable_picture_is_passed_over_when_asked(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """From the start, or by resuming where it ended the training: the weights are the same."""
    data, whole, parts = tmp_path / "data", tmp_path / "whole", tmp_path / "parts"
    shutil.copytree(photos, data)
    last = np.random.default_rng((0, 0, 4)).permutation(4)[3]  # of the first epoch: in step 2
    (data / f"{last}.png").write_bytes(b"no picture")

    def train(out: Path, *extra: str) -> int:
        command = [*student_command(data, teacher, out), "--stages", "1", "--only", "encoder"]
        command += ["--compressor", "scratch", "--checkpoint-every", "1", "--log-every", "1"]
        return run_app(app, "distill", [*command, *extra])

    assert train(parts) == 2
    assert "--skip-unreadable" in capsys.readouterr().err.strip().splitlines()[-1]
    assert (parts / "training/stage1-encoder/checkpoint.pt").is_file()
    assert train(parts, "--resume", "--skip-unreadable") == 0
    assert train(whole, "--skip-unreadable") == 0
    assert capsys.readouterr().err.count(f"skipped: {data / f'{last}.png'}: cannot be read") == 2
    ours, theirs = (load_file(out / "stage1-encoder.safetensors") for out in (whole, parts))
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


@pytest.fixture
def another_device() -> Iterator[None]:
    """A process has one device for training; tests want the CPU before and after."""
    AcceleratorState._reset_state(reset_partial_state=True)
    yield
    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.mark.gpu
@pytest.mark.usefixtures("another_device")
def test_a_training_on_cuda_is_resumed_and_its_model_evaluated(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same losses as without the stop; not the same bits: CUDA sums in no fixed order."""
    train_on("cuda", photos, tmp_path, monkeypatch)
    assert torch.cuda.max_memory_allocated() > 0


def train_on(device: str, photos: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = folder / "whole", folder / "parts"

    def train(out: Path, *extra: str) -> int:
        command = ["train", "--method", "adain", "--ratio", "64", "--out", str(out)]
        command += ["--data", str(photos), "--styles", str(photos), *TOY, "--device", device]
        command += ["--steps", "6", "--log-every", "1", "--checkpoint-every", "2", *extra]
        return run_app(app, "distill", command)

    def save_and_stop(path: Path, *state: Any) -> None:
        save_checkpoint(path, *state)
        if state[-1].steps == 4:
            raise KeyboardInterrupt

    assert train(whole) == 0
    with monkeypatch.context() as patch:
        patch.setattr(loop, "save_checkpoint", save_and_stop)
        assert train(parts) == 130
    assert not list(parts.glob("*.safetensors"))
    assert train(parts, "--resume") == 0
    for network in ("stage4-encoder", "stage4-decoder"):
        logs = [pd.read_csv(out / "training" / network / "log.csv") for out in (whole, parts)]
        assert [list(log["step"]) for log in logs] == [[1, 2, 3, 4, 5, 6]] * 2
        assert logs[1]["loss"].to_numpy() == pytest.approx(logs[0]["loss"].to_numpy(), rel=0.02)
        tensors, metadata = read_tensors(parts / f"{network}.safetensors")
        header = read_header(metadata)
        assert header is not None
        assert (header.steps, header.ratio) == (6, 64)
        assert all(value.isfinite().all() for value in tensors.values())
    command = ["evaluate", f"adain-vgg16-64x:{parts}", "--content", str(photos), "--style"]
    command += [str(photos), "--out", str(folder / "evaluation"), "--device", device]
    assert run_app(app, "distill", [*command, "--size", "64", "--pairs", "2", "--quiet"]) == 0


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
        (["--log-every", "0"], "'--log-every'"),
        (["--checkpoint-every", "0"], "'--checkpoint-every'"),
        (["--workers", "-1"], "'--workers'"),
        (["--threads", "0"], "'--threads'"),
        (["--seed", "-1"], "'--seed'"),
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
