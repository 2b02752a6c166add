"""Weights in 8 bits: how near they come, and what a file with them is read as."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file

from distill.command_line import run_app
from distill.commands import app
from distill.errors import UserError
from distill.quantise import quantise, restored
from distill.weights import read_stored, read_tensors

pytestmark = pytest.mark.numerical


def weights(outputs: int, inputs: int, seed: int, spread: float = 0.0) -> torch.Tensor:
    """Normal, with input channels whose sizes differ by factors up to ``10 ** spread``."""
    generator = torch.Generator().manual_seed(seed)
    size = 10 ** (spread * torch.rand(inputs, generator=generator))
    return torch.randn(outputs, inputs, 3, 3, generator=generator) * size[:, None, None]


def rounded(weight: torch.Tensor) -> torch.Tensor:
    """Plain 8-bit rounding: 127 is the largest magnitude of each output channel."""
    step = weight.flatten(1).abs().amax(1)[:, None, None, None] / 127
    return (weight / step).round() * step


def error(found: torch.Tensor, weight: torch.Tensor) -> float:
    return ((found - weight).norm() / weight.norm()).item()


@given(
    outputs=st.integers(1, 9),
    inputs=st.integers(1, 9),
    seed=st.integers(0, 1000),
    spread=st.floats(0, 4),
)
def test_it_is_never_worse_than_plain_rounding(outputs, inputs, seed, spread):
    weight = weights(outputs, inputs, seed, spread)
    found = quantise(weight)
    assert found.values.dtype == torch.int8
    assert found.values.shape == weight.shape
    assert found.values.abs().max() <= 127
    assert found.scale.shape == (outputs,)
    assert found.input_scale is None or found.input_scale.shape == (inputs,)
    assert error(found.restored(), weight) <= error(rounded(weight), weight) * (1 + 1e-5)


def test_input_channels_of_different_sizes_do_not_share_their_steps():
    """As in the normalised VGG: with steps of the outputs alone small channels are rounded off."""
    weight = weights(32, 64, 0, spread=2)
    assert error(quantise(weight).restored(), weight) < 0.75 * error(rounded(weight), weight)


def test_an_outlier_is_clipped_where_that_serves_the_rest():
    weight = torch.randn(1, 1, 36_000, generator=torch.Generator().manual_seed(0))
    weight[0, 0, 0] = 6
    found = quantise(weight).restored()
    assert found.max() < 5.9
    plain = (weight * 127 / 6).round() * 6 / 127
    assert error(found, weight) < 0.95 * error(plain, weight)


def in_8_bits(exponent: int, seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    whole = torch.randint(-126, 127, (4, 3, 3, 3), generator=generator).float()
    whole[:, 0, 0, 0] = 127
    return whole * 2.0**exponent


@given(exponent=st.integers(-20, 20), seed=st.integers(0, 100))
def test_what_fits_into_8_bits_is_kept_exactly(exponent, seed):
    weight = in_8_bits(exponent, seed)
    found = quantise(weight)
    assert found.input_scale is None
    assert torch.equal(found.restored(), weight)


@pytest.mark.parametrize("tiny", [0.0, 1e-42, 1e-38])
def test_channels_of_nothing_stay_finite(tiny):
    weight = weights(4, 3, 0)
    weight[1], weight[:, 2] = tiny, tiny
    found = quantise(weight).restored()
    assert found.isfinite().all()
    assert found[1].abs().max() <= 2 * tiny
    assert error(found, weight) < 0.01
    assert (quantise(torch.zeros(2, 2)).restored() == 0).all()


@pytest.mark.parametrize("bad", [torch.ones(3), torch.tensor([[1.0, torch.nan]])])
def test_what_cannot_be_quantised(bad):
    with pytest.raises(ValueError, match="two dimensions or more with finite values"):
        quantise(bad)


# ------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("weight", [in_8_bits(3, 0), weights(16, 32, 0, 3.0)], ids=["1", "2"])
def test_a_file_is_read_as_what_it_stands_for(weight, tmp_path):
    found, path = quantise(weight), tmp_path / "a.safetensors"
    save_file({**found.named("conv.weight"), "conv.bias": torch.ones(4).half()}, path)
    tensors, _ = read_tensors(path)
    assert set(tensors) == {"conv.weight", "conv.bias"}
    assert torch.equal(tensors["conv.weight"], found.restored())
    assert tensors["conv.bias"].dtype == torch.float16
    assert read_stored(path)[0]["conv.weight"].dtype == torch.int8


def test_other_tensors_are_left_alone():
    """Integers without scales, and scales of something that is none."""
    tensors = {
        "count": torch.ones(2, 2, dtype=torch.int8),
        "norm": torch.ones(2, 2),
        "norm.scale": torch.ones(2),
        "steps.scale": torch.ones(2),
    }
    found = restored(tensors)
    assert found.keys() == tensors.keys()
    assert all(found[key] is tensors[key] for key in tensors)


@pytest.mark.parametrize(
    "scales",
    [
        {"a.scale": torch.ones(5)},
        {"a.scale": torch.ones(4, 1)},
        {"a.scale": torch.ones(4, dtype=torch.int32)},
        {"a.scale": torch.ones(4), "a.input_scale": torch.ones(4)},
    ],
)
def test_scales_that_do_not_fit_are_named(scales, tmp_path):
    path = tmp_path / "a.safetensors"
    save_file({"a": torch.ones(4, 3, dtype=torch.int8), **scales}, path)
    with pytest.raises(UserError, match="cannot scale a, which is") as caught:
        read_tensors(path)
    (problem,) = caught.value.problems
    assert problem.startswith(f"{path}: {list(scales)[-1]} is (")


def test_info_says_how_tensors_are_stored_and_counts_the_true_parameters(tmp_path, capsys):
    path = tmp_path / "a.safetensors"
    tensors = {
        **quantise(weights(16, 32, 0, 3.0)).named("first.weight"),
        **quantise(in_8_bits(0, 0)).named("second.weight"),
        "second.bias": torch.ones(16).half(),
    }
    save_file(tensors, path)
    assert run_app(app, "distill", ["info", str(path)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert "first.weight  16x32x3x3  int8, with a scale for each output and input channel" in lines
    assert "second.weight  4x3x3x3  int8, with a scale for each output channel" in lines
    assert "second.bias  16  float16" in lines
    assert f"parameters: {16 * 32 * 9 + 4 * 3 * 9 + 16:,}" in lines
    assert not any(".scale" in line for line in lines)
