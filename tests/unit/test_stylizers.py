"""A stylizer as a user sees it: content and style in, a picture of the content's size out."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bench.stylizers import Unsupported, load_stylizer, model_facts
from bench.stylizers.cascade import DTYPES, native_on_cpu, set_precision
from distill.cascades import load_cascade
from distill.models import parse_model
from tests.plain import plain_stylize

pytestmark = [pytest.mark.numerical, pytest.mark.usefixtures("no_embedded_models")]
SMALL = ("wct-vgg16-64x", "adain-vgg19-64x")


def noise(height: int, width: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(1, 3, height, width, generator=torch.Generator().manual_seed(seed))


def picture(height: int, width: int) -> torch.Tensor:
    """Smooth, as pictures mostly are."""
    row = torch.linspace(0, 1, height)[:, None].expand(height, width)
    column = torch.linspace(0, 1, width).expand(height, width)
    return torch.stack([row, column, (5 * row * column).sin() / 2 + 0.5])[None]


sides = st.integers(1, 50)


@settings(max_examples=25)
@given(height=sides, width=sides, style=st.tuples(sides, sides), model=st.sampled_from(SMALL))
@example(height=1, width=1, style=(1, 1), model=SMALL[0])
@example(height=1, width=1, style=(1, 1), model=SMALL[1])
@example(height=1, width=50, style=(50, 1), model=SMALL[0])
@example(height=17, width=31, style=(16, 16), model=SMALL[0])
def test_the_picture_has_the_size_of_the_content(height, width, style, model):
    stylizer = load_stylizer(model)
    content = noise(height, width)
    before = content.clone()
    output = stylizer.stylize(content, stylizer.encode_style(noise(*style, seed=1)))
    assert output.shape == (1, 3, height, width)
    assert output.isfinite().all()
    assert output.min() >= 0
    assert output.max() <= 1
    assert torch.equal(content, before)


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("model", ["adain-vgg16-16x", "adain-vgg16-4x"])
def test_adain_is_the_plain_cascade(model, alpha):
    content, style = picture(37, 50), noise(33, 20)
    stylizer = load_stylizer(model)
    networks = load_cascade(parse_model(model))
    # With random weights much lies beyond 0..1: a shift that leaves it there would not show.
    found = stylizer.stylize(content, stylizer.encode_style(style), alpha)
    expected = plain_stylize(networks, "adain", content, style, alpha)
    inside = ((expected > 0) & (expected < 1)).float().mean()
    assert inside > 0.05
    assert (found - expected).abs().max() < 1e-3


@pytest.mark.parametrize("alpha", [0.0, 0.6, 1.0])
def test_trained_wct_is_the_plain_cascade(alpha, students):
    """Rank-deficient throughout: 77 of 128 channels never fire at relu4_1."""
    model = f"wct-vgg19-16x:{students}"
    content, style = picture(83, 100), noise(64, 65)
    stylizer = load_stylizer(model)
    assert stylizer.weights == "trained"
    found = stylizer.stylize(content, stylizer.encode_style(style), alpha)
    expected = plain_stylize(load_cascade(parse_model(model)), "wct", content, style, alpha)
    error = (found - expected).square().mean()
    assert -10 * error.log10() > 60  # PSNR in dB; 8 bits alone give 59


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("model", SMALL)
def test_a_picture_of_one_colour_stays_finite(model, level):
    stylizer = load_stylizer(model)
    flat = torch.full((1, 3, 20, 20), level)
    for content, style in ((flat, noise(32, 32)), (noise(32, 32), flat), (flat, flat)):
        assert stylizer.stylize(content, stylizer.encode_style(style)).isfinite().all()


@pytest.mark.parametrize("model", SMALL)
def test_the_same_seed_gives_the_same_picture(model):
    content, style = noise(20, 30), noise(16, 16, seed=1)

    def output(seed: int) -> torch.Tensor:
        stylizer = load_stylizer(model, seed=seed)
        assert stylizer.weights == "random"
        assert f"seed {seed}" in stylizer.weights_detail
        return stylizer.stylize(content, stylizer.encode_style(style))

    assert torch.equal(output(1), output(1))
    assert not torch.equal(output(1), output(2))


@pytest.mark.parametrize("alpha", [-0.1, 1.1])
def test_alpha_beyond_its_range_is_refused(alpha):
    stylizer = load_stylizer(SMALL[1])
    code = stylizer.encode_style(noise(16, 16))
    with pytest.raises(ValueError, match="alpha must be between 0 and 1"):
        stylizer.stylize(noise(16, 16), code, alpha)


@pytest.mark.parametrize("model", [*SMALL, "wct-vgg19-16x"])
def test_facts_for_planning_are_those_of_the_stylizer(model):
    stylizer, facts = load_stylizer(model, seed=2), model_facts(model, 50, 33, seed=2)
    assert facts.parameters == stylizer.parameters
    assert facts.macs == stylizer.macs(50, 33)
    assert facts.weights == stylizer.weights == "random"
    assert facts.weights_digest == stylizer.weights_digest


def test_work_is_counted_on_the_padded_image():
    stylizer = load_stylizer("wct-vgg16-64x")
    assert stylizer.macs(16, 32) == round(stylizer.macs_per_pixel * 16 * 32)
    assert stylizer.macs(1, 17) == stylizer.macs(16, 32) == stylizer.macs(16, 32)
    assert stylizer.macs(160, 160) == 50 * stylizer.macs(16, 32)


@pytest.mark.parametrize(
    "precision",
    ["fp32", *(pytest.param(name, marks=pytest.mark.native(name)) for name in ("bf16", "fp16"))],
)
def test_storage_depends_on_the_precision(precision):
    stylizer = load_stylizer("adain-vgg19-16x", precision=precision)
    assert stylizer.layout.dtype == DTYPES[precision]
    assert stylizer.storage_bytes == 439_471 * (4 if precision == "fp32" else 2)


def test_tf32_needs_a_gpu():
    with pytest.raises(Unsupported) as caught:
        load_stylizer(SMALL[0], precision="tf32")
    assert caught.value.code == "precision"
    assert "tf32 needs an NVIDIA GPU" in caught.value.reason


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_the_cpu(precision, monkeypatch):
    """Close to fp32 where the CPU has it, unsupported elsewhere."""
    content, style = picture(40, 56), noise(32, 48)
    if native_on_cpu(precision):
        pictures = []
        for chosen in ("fp32", precision):
            stylizer = load_stylizer("adain-vgg16-16x", precision=chosen)
            pictures.append(stylizer.stylize(content, stylizer.encode_style(style)))
        assert pictures[1].dtype == DTYPES[precision]
        error = (pictures[0] - pictures[1].float()).square().mean()
        assert 0 < error < 1e-3
    monkeypatch.setattr(
        torch.ops.mkldnn, f"_is_mkldnn_{precision}_supported", lambda: False, raising=False
    )
    with pytest.raises(Unsupported, match=f"{precision} is not native on this processor") as caught:
        set_precision(precision, "cpu")
    assert caught.value.code == "precision"
