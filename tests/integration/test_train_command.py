"""``distill train`` as a user runs it, at toy size: whole models, resume, several processes."""

import json
import os
import re
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
from safetensors.torch import load_file, save_file

from distill.command_line import run_app
from distill.commands import app
from distill.header import read_header
from distill.models import parse_model
from distill.networks import Encoder
from distill.training import loop
from distill.training.book import COMPRESSORS, Job, Recipebook
from distill.training.building import build_recipe
from distill.training.checkpoints import save_checkpoint
from distill.training.data import Crops, list_images
from distill.training.lock import LOCK, lock_networks
from distill.training.settings import Settings
from distill.weights import read_tensors, sha256

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
    before = contents(out)
    other = [part.format(extra=extra) for part in now]
    assert run_app(app, "distill", [*command, *other, "--resume"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert says in error
    assert "give the same, or another --out" in error
    assert contents(out) == before


def contents(folder: Path) -> dict[Path, bytes]:
    """Of all files below a folder, but for locks."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != LOCK)
    return {file: file.read_bytes() for file in files}


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


def test_more_steps_go_on_encoder_first(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [*student_command(photos, teacher, tmp_path), "--stages", "1"]
    assert run_app(app, "distill", command) == 0
    before = contents(tmp_path)
    assert run_app(app, "distill", [*command, "--steps", "5", "--seed", "1", "--resume"]) == 0
    assert "stays at 3 steps: it was trained otherwise (seed 0 then, 1 now)" in (
        capsys.readouterr().err
    )
    assert contents(tmp_path) == before
    assert run_app(app, "distill", [*command, "--steps", "5", "--resume"]) == 0
    for role in ("encoder", "decoder"):
        path = tmp_path / f"stage1-{role}.safetensors"
        header = read_header(read_tensors(path)[1])
        assert header is not None
        assert header.steps == 5
        assert path.read_bytes() != before[path]
    for path in tmp_path.rglob("checkpoint.pt"):
        path.unlink()
    assert run_app(app, "distill", [*command, "--steps", "9", "--resume"]) == 0
    assert "stays at 5 steps: it has no checkpoint to go on from" in capsys.readouterr().err


def test_headers_say_what_a_network_was_made_of(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    only = ["--stages", "1", "--only", "encoder", "--learning-rate", "1e-3"]
    assert run_app(app, "distill", [*student_command(photos, teacher, first), *only]) == 0
    command = [*student_command(photos, teacher, second), *only, "--start", str(first)]
    command += ["--loss-weight", "embedding=2", "--embedding", "relu", "--no-align", "--steps", "4"]
    assert run_app(app, "distill", command) == 0
    plain, started = (
        read_header(read_tensors(out / "stage1-encoder.safetensors")[1]) for out in (first, second)
    )
    assert plain is not None
    assert started is not None
    assert (plain.learning_rate, plain.schedule, plain.crop) == (1e-3, "constant", 16)
    assert plain.teacher == sha256(teacher / "stage1-decoder.safetensors")[:16]
    assert (plain.earlier_steps, plain.all_steps, plain.start, plain.variant) == (0, 3, "", "")
    assert json.loads(plain.loss_weights) == {"embedding": 10, "pixel": 1, "perceptual": 1}
    assert json.loads(started.loss_weights) == {"embedding": 2, "pixel": 1, "perceptual": 1}
    assert (started.steps, started.earlier_steps, started.all_steps) == (4, 3, 7)
    assert started.start == sha256(first / "stage1-encoder.safetensors")[:16]
    assert started.variant == "not aligned, embedding relu"


@pytest.mark.parametrize("compressor", ["collaborative", "pruned", "fitnet"])
def test_a_plainly_pruned_start_makes_a_student(
    compressor: str, photos: Path, teacher: Path, tmp_path: Path
) -> None:
    command = [*student_command(photos, teacher, tmp_path), "--stages", "2", "--no-align"]
    assert run_app(app, "distill", [*command, "--compressor", compressor]) == 0


def test_a_teachers_own_encoder_is_what_is_learnt_from(
    photos: Path, teacher: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    shutil.copytree(teacher, other)
    path = other / "stage1-encoder.safetensors"
    tensors, metadata = read_tensors(path)
    tensors["conv1_1.weight"] *= -3
    save_file(tensors, path, metadata=metadata)
    only = ["--stages", "1", "--only", "encoder"]
    students = []
    for folder in (teacher, other):
        out = tmp_path / f"of-{folder.name}"
        assert run_app(app, "distill", [*student_command(photos, folder, out), *only]) == 0
        students.append(read_tensors(out / "stage1-encoder.safetensors"))
    (ours, first), (theirs, second) = students
    assert not torch.equal(ours["conv1_1.weight"], theirs["conv1_1.weight"])
    assert second["teacher"].split() == [first["teacher"], sha256(path)[:16]]
    decoders = tmp_path / "decoders"
    command = ["train", "--ratio", "1", "--stages", "1", "--teacher", str(other)]
    command += ["--data", str(photos), "--out", str(decoders), *TOY]
    assert run_app(app, "distill", command) == 0
    kept = load_file(decoders / "stage1-encoder.safetensors")
    assert torch.equal(kept["conv1_1.weight"], tensors["conv1_1.weight"])


def test_two_trainings_do_not_make_one_network(
    photos: Path, teacher: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = student_command(photos, teacher, tmp_path)
    with lock_networks(tmp_path, ["stage2-encoder"]):
        assert run_app(app, "distill", [*command, "--stages", "2"]) == 2
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert f"another training (process {os.getpid()}) makes stage2-encoder here" in error
        assert run_app(app, "distill", [*command, "--stages", "1"]) == 0


@pytest.mark.parametrize("compressor", COMPRESSORS)
def test_every_compressor_sees_the_same_images(
    compressor: str, photos: Path, tmp_path: Path
) -> None:
    """Photographs and paintings, for AdaIN's encoders; else none is at equal data."""
    images = list_images([photos])
    book = Recipebook(
        spec=parse_model("adain-vgg16-64x"),
        compressor=compressor,
        out=tmp_path,
        content=images,
        styles=images,
        crops=Crops(16, (16, 16)),
        settings=Settings(steps=1, batch=2),
        aligned=False,
    )
    recipe = build_recipe(book, Job(4, "encoder"))
    assert recipe.needs_style
    seen: list[int] = []
    encoder = next(m for m in recipe.trainable.modules() if isinstance(m, Encoder))
    features = encoder.features
    encoder.features = lambda images, layers: (  # type: ignore[method-assign]
        seen.append(len(images)) or features(images, layers)
    )
    recipe(torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16))
    assert seen == [4]


def test_the_documented_recipe_of_ones_own_trains(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    page = Path(__file__).parents[2] / "docs" / "distillation.md"
    (example,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    shutil.copytree(photos, tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(page), "exec"), {"__name__": "example"})
    assert "embedding" in capsys.readouterr().out
    assert (tmp_path / "own" / "checkpoint.pt").is_file()


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
