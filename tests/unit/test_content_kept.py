"""Content kept: what a person would still recognise passes, pure texture does not."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from distill.content_kept import KEPT, ContentKept


@pytest.fixture(scope="module")
def kept() -> ContentKept:
    return ContentKept()


def scene(height: int = 192, width: int = 256) -> Tensor:
    """A sky, a ground and a striped tower between them."""
    image = torch.zeros(1, 3, height, width)
    image[:, 2] = 0.8
    image[:, :, height * 2 // 3 :] = torch.tensor([0.3, 0.5, 0.2]).view(1, 3, 1, 1)
    tower = image[:, :, height // 6 : height * 5 // 6, width // 3 : width // 2]
    tower[:] = 0.6
    tower[..., ::8, :] = 0.1
    return image


def noise(image: Tensor, seed: int = 0) -> Tensor:
    return torch.rand(image.shape, generator=torch.Generator().manual_seed(seed))


def stripes(image: Tensor) -> Tensor:
    columns = torch.arange(image.shape[-1]) // 6 % 2
    return columns.float().expand(image.shape).contiguous()


def test_a_picture_keeps_itself(kept):
    assert kept(scene(), scene()) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("texture", [noise, stripes])
def test_pure_texture_keeps_nothing(kept, texture):
    assert kept(texture(scene()), scene()) < KEPT


def test_the_same_pixels_elsewhere_keep_nothing(kept):
    image = scene()
    order = torch.randperm(image[0, 0].numel(), generator=torch.Generator().manual_seed(1))
    assert kept(image.flatten(2)[..., order].view_as(image), image) < KEPT


@pytest.mark.parametrize(
    "change",
    [
        lambda image: image[:, [2, 0, 1]],
        lambda image: image.mean(1, keepdim=True).expand(-1, 3, -1, -1),
        lambda image: 0.3 + 0.5 * image,
        lambda image: (0.85 * image + 0.15 * noise(image)).clamp(0, 1),
        lambda image: F.avg_pool2d(image, 5, 1, 2),
    ],
    ids=["other colours", "grey", "pale", "grain", "soft"],
)
def test_other_colours_and_strokes_keep_it(kept, change):
    assert kept(change(scene()).contiguous(), scene()) > KEPT


def test_a_flat_picture_keeps_nothing(kept):
    assert kept(torch.full((1, 3, 128, 128), 0.5), scene(128, 128)) < KEPT
    assert abs(kept(torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64))) <= 1


@pytest.mark.parametrize("shape", [(1, 3, 33, 500), (1, 3, 16, 16), (1, 3, 1, 40)])
def test_any_size_is_measured(kept, shape):
    image = noise(torch.empty(shape), 2)
    assert kept(image, image) == pytest.approx(1, abs=1e-3)


def test_pictures_of_two_sizes_are_refused(kept):
    with pytest.raises(ValueError, match="as large as its content"):
        kept(scene(), scene(96, 128))
