"""The published students against what the paper's own code makes of them, through the command."""

import pytest

from bench.images import read_image
from bench.stylize import stylize_file
from tests.plain import psnr

pytestmark = pytest.mark.numerical


@pytest.mark.parametrize(
    ("content", "style"), [("wct-in4", "wct-in2"), ("golden_gate", "brushstrokes")]
)
def test_reference_images(content, style, shared, students, tmp_path):
    out = tmp_path / "out.png"
    stylize_file(
        shared / f"images/content/{content}.jpg",
        shared / f"images/style/{style}.jpg",
        out,
        model=f"wct-vgg19-16x:{students}",
        size="512x512",
        device="cpu",
    )
    expected = read_image(shared / f"reference/wct16x_{content}_{style}_512.png")
    found = read_image(out)
    assert found.shape == expected.shape == (512, 512, 3)
    assert psnr(found, expected) >= 48
