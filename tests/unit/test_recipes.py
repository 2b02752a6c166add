"""What is trained learns, what is frozen stays, and each loss is what it says."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from distill.networks import Decoder, Encoder, seed_weights
from distill.training.losses import adain, mean_and_deviation, mse, style_statistics, sum_of_squares
from distill.training.pruning import prune_encoder
from distill.training.recipes import (
    AdainDecoderRecipe,
    EmbeddedEncoder,
    EncoderRecipe,
    JointRecipe,
    Recipe,
    ReconstructionRecipe,
)
from distill.weights import load_named

pytestmark = pytest.mark.numerical

WIDE, NARROW = (12, 16, 24), (8, 12, 16)
STAGE = 3


def small_teacher() -> Encoder:
    """Real features, few of them."""
    return prune_encoder(load_named("vgg16-normalised"), WIDE, STAGE)


def decoder(widths: tuple[int, ...], seed: int) -> Decoder:
    made = Decoder("vgg16", widths, STAGE, final_relu=False)
    seed_weights(made, seed)
    return made


def student(widths: tuple[int, ...] = NARROW) -> Encoder:
    made = Encoder("vgg16", widths, STAGE)
    seed_weights(made, 5)
    return made


@pytest.fixture(scope="module")
def images() -> tuple[Tensor, Tensor]:
    """A batch that can be learnt by heart: soft blobs."""
    coarse = torch.rand(4, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.interpolate(coarse, scale_factor=8, mode="bicubic").clamp(0, 1)
    return smooth[:1], smooth[1:2]


def fit(recipe: Recipe, images: tuple[Tensor, Tensor], steps: int, rate: float) -> float:
    """Loss at the end of a training on one batch, as a part of the first."""
    trained = [p for p in recipe.trainable.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(trained, rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    losses = []
    for _ in range(steps):
        loss = torch.stack(list(recipe(*images).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        losses.append(loss.item())
    return losses[-1] / losses[0]


@pytest.fixture(scope="module")
def trained_decoder(images: tuple[Tensor, Tensor]) -> Decoder:
    made, teacher = decoder(WIDE, 1), small_teacher()
    fit(ReconstructionRecipe(teacher, made, teacher), images, 200, 5e-3)
    made.zero_grad(set_to_none=True)
    return made


@pytest.fixture
def teacher_decoder(trained_decoder: Decoder) -> Decoder:
    return copy.deepcopy(trained_decoder)


def teacher_decoder_recipe(_: Decoder) -> Recipe:
    teacher = small_teacher()
    return ReconstructionRecipe(teacher, decoder(WIDE, 1), teacher)


def adain_decoder_recipe(_: Decoder) -> Recipe:
    teacher = small_teacher()
    return AdainDecoderRecipe(teacher, decoder(WIDE, 1), teacher)


def collaborative_recipe(trained: Decoder) -> Recipe:
    return EncoderRecipe(
        EmbeddedEncoder(student(WIDE), WIDE), small_teacher(), trained, style=False
    )


def collaborative_adain_recipe(trained: Decoder) -> Recipe:
    return EncoderRecipe(EmbeddedEncoder(student(WIDE), WIDE), small_teacher(), trained, style=True)


def fitnet_recipe(_: Decoder) -> Recipe:
    return EncoderRecipe(
        EmbeddedEncoder(student((24, 32, 48)), WIDE), small_teacher(), None, style=False
    )


def student_decoder_recipe(_: Decoder) -> Recipe:
    return ReconstructionRecipe(student(), decoder(NARROW, 2), small_teacher())


def student_adain_decoder_recipe(trained: Decoder) -> Recipe:
    return AdainDecoderRecipe(student(), decoder(NARROW, 2), small_teacher(), trained)


def joint_recipe(_: Decoder) -> Recipe:
    return JointRecipe(student(), decoder(NARROW, 2), small_teacher())


RECIPES = [
    teacher_decoder_recipe,
    adain_decoder_recipe,
    collaborative_recipe,
    collaborative_adain_recipe,
    fitnet_recipe,
    student_decoder_recipe,
    student_adain_decoder_recipe,
    joint_recipe,
]


@pytest.mark.slow
@pytest.mark.parametrize("make", RECIPES)
def test_recipe_learns_a_batch_by_heart(
    make: Callable[[Decoder], Recipe], images: tuple[Tensor, Tensor], teacher_decoder: Decoder
) -> None:
    rate = 1.5e-2 if make is fitnet_recipe else 5e-3
    assert fit(make(teacher_decoder), images, 500, rate) < 0.1


@pytest.mark.parametrize("make", RECIPES)
def test_frozen_networks_get_no_gradient(
    make: Callable[[Decoder], Recipe], images: tuple[Tensor, Tensor], teacher_decoder: Decoder
) -> None:
    recipe = make(teacher_decoder)
    recipe.set_precision(torch.bfloat16)
    torch.stack(list(recipe(*(x.bfloat16() for x in images)).values())).sum().backward()
    trained = {id(p) for p in recipe.trainable.parameters() if p.requires_grad}
    assert trained
    for name, parameter in recipe.named_parameters():
        if id(parameter) in trained:
            assert parameter.dtype == torch.float32
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        else:
            assert parameter.grad is None, name


def test_collaboration_is_the_sum_of_its_definition(
    images: tuple[Tensor, Tensor], teacher_decoder: Decoder
) -> None:
    content = images[0]
    embedded, teacher = EmbeddedEncoder(student(), WIDE), small_teacher()
    recipe = EncoderRecipe(embedded, teacher, teacher_decoder, style=False)
    layers = [f"relu{k}_1" for k in range(1, STAGE + 1)]
    with torch.no_grad():
        theirs = teacher.features(content, layers)
        ours = embedded(content)
        rebuilt = teacher_decoder(ours[-1])
        again = teacher.features(rebuilt, layers)
        found = recipe(content)
    mean_square = torch.nn.functional.mse_loss
    expected = {
        "embedding": 10 * sum(mean_square(a, b) for a, b in zip(ours, theirs, strict=True)),
        "pixel": mean_square(rebuilt, content),
        "perceptual": sum(mean_square(a, b) for a, b in zip(again, theirs, strict=True)),
    }
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_mse_is_the_stock_one_with_its_gradient() -> None:
    x, y = torch.randn(2, 3, 5, 5, requires_grad=True), torch.randn(2, 3, 5, 5)
    same = x.detach().clone().requires_grad_()
    mse(x, y).backward()
    expected = torch.nn.functional.mse_loss(same, y)
    expected.backward()
    torch.testing.assert_close(mse(x, y), expected)
    torch.testing.assert_close(x.grad, same.grad)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shape", [(2, 3, 5, 7), (4, 64, 128, 128), (16, 64, 256, 256)])
def test_mse_is_right_at_every_size(
    shape: tuple[int, ...], memory_format: torch.memory_format
) -> None:
    values = 8 * torch.rand(shape, generator=torch.Generator().manual_seed(0))
    values = values.contiguous(memory_format=memory_format)
    right = sum(image.double().square().sum().item() for image in values) / values.numel()
    found = mse(values, torch.zeros(()).expand(shape)).item()
    assert abs(found / right - 1) < 1e-5


def test_mse_of_what_lies_strided_in_memory() -> None:
    for values in (torch.rand(3, 600)[:, ::2], torch.rand(1, 3).expand(300, 3), torch.rand(())):
        assert sum_of_squares(values).item() == pytest.approx(values.square().sum().item())
    assert sum_of_squares(torch.ones(0)) == 0


def test_adain_takes_on_the_statistics_of_the_style() -> None:
    content, style = torch.rand(2, 6, 9, 7), 3 * torch.rand(2, 6, 5, 8) + 1
    found = adain(content, style)
    for ours, theirs in zip(mean_and_deviation(found), mean_and_deviation(style), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-3)
    assert style_statistics([found], [style]) < 1e-5
    assert style_statistics([content], [style]) > 0.1


def test_embeddings_start_at_the_least_squares_map() -> None:
    """A teacher that is a linear function of the student is met at once."""
    embedded = EmbeddedEncoder(student(), WIDE)
    ours = [torch.randn(500, width) for width in NARROW]
    maps = [torch.randn(width, wide) for width, wide in zip(NARROW, WIDE, strict=True)]
    theirs = [x @ a + 2 for x, a in zip(ours, maps, strict=True)]
    embedded.fit(ours, theirs, ridge=1e-9)
    given = [x.T[None, :, :, None] for x in ours]
    for found, wanted in zip(embedded.embed(given), theirs, strict=True):
        torch.testing.assert_close(found[0, :, :, 0].T, wanted, rtol=1e-3, atol=1e-3)


def test_fitted_start_is_nearer_than_a_random_one(images: tuple[Tensor, Tensor]) -> None:
    recipe = fitnet_recipe(decoder(WIDE, 1))
    assert isinstance(recipe, EncoderRecipe)
    before = recipe(images[0])["embedding"]
    recipe.fit_embeddings([images[0]])
    assert recipe(images[0])["embedding"] < before / 2
