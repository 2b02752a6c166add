"""Training steps against a plain loop on the same recipe, in one run: collaborative distillation.

Plainly, as public code does it: NCHW, float32, padded copies, stock losses, and the frozen
teacher's features of the image computed again for each loss that compares with them. One round is
one step (forward, backward, Adam) of BATCH crops: images/s are BATCH over the time.

    python -m pytest tests/performance/test_training.py -n 0 --benchmark-enable --benchmark-only
"""

import os

import pytest
import torch
import torch.nn.functional as F

from distill.networks import TEACHER_WIDTHS, Decoder, seed_weights, student_widths
from distill.training.building import teacher_encoder
from distill.training.pruning import prune_encoder
from distill.training.recipes import EmbeddedEncoder, EncoderRecipe, layers_to

STAGE, BATCH, CROP, RATIO = 4, 4, 128, 16


@pytest.fixture(scope="module", autouse=True)
def threads():
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("ULTRASTYLE_BENCH_THREADS", os.cpu_count() or 1)))
    yield
    torch.set_num_threads(before)


def networks() -> tuple[EmbeddedEncoder, torch.nn.Module, Decoder]:
    teacher = teacher_encoder("vgg16", STAGE)
    student = prune_encoder(teacher, student_widths(RATIO)[:STAGE], STAGE)
    decoder = Decoder("vgg16", TEACHER_WIDTHS, STAGE)
    seed_weights(decoder, 0)
    decoder.requires_grad_(False)
    return EmbeddedEncoder(student, TEACHER_WIDTHS[:STAGE]), teacher.requires_grad_(False), decoder


@pytest.fixture
def images(timed) -> torch.Tensor:
    batch, crop = (BATCH, CROP) if timed else (1, 32)
    return torch.rand(batch, 3, crop, crop, generator=torch.Generator().manual_seed(0))


@pytest.mark.benchmark(group="collaborative step")
def test_plain(benchmark, images):
    student, teacher, decoder = networks()
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 1e-4)
    layers, x = layers_to(STAGE), images

    def step() -> None:
        embedded = student(x)
        rebuilt = decoder(embedded[-1])
        loss = F.mse_loss(rebuilt, x)
        with torch.no_grad():
            theirs = teacher.features(x, layers)
        loss = loss + 10 * sum(F.mse_loss(a, b) for a, b in zip(embedded, theirs, strict=True))
        with torch.no_grad():
            theirs = teacher.features(x, layers)
        again = teacher.features(rebuilt, layers)
        loss = loss + sum(F.mse_loss(a, b) for a, b in zip(again, theirs, strict=True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    benchmark.pedantic(step, rounds=10, warmup_rounds=2)


@pytest.mark.benchmark(group="collaborative step")
@pytest.mark.parametrize(
    "precision", ["fp32", pytest.param("bf16", marks=pytest.mark.native("bf16"))]
)
def test_ours(benchmark, images, precision):
    student, teacher, decoder = networks()
    dtype = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    recipe = EncoderRecipe(student, teacher, decoder, style=False)
    recipe.set_precision(dtype)
    recipe.to(memory_format=torch.channels_last)
    trained = [p for p in student.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, 1e-4, fused=True)
    x = images.contiguous(memory_format=torch.channels_last).to(dtype)

    def step() -> None:
        loss = torch.stack(list(recipe(x).values())).sum()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    benchmark.pedantic(step, rounds=10, warmup_rounds=2)
