"""What differs on a GPU: kernels, layouts, number formats, 64-bit sizes, records of real runs."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from bench.images import read_image
from bench.measure.latency import (
    clock_for,
    measure_latency,
    throughput_seconds_per_call,
)
from bench.measure.memory import meter_for
from bench.measure.nvml import nvml
from bench.pytest_plugin.child import measure_callable
from bench.record import Record
from bench.run.runner import run_scenario
from bench.scenario import Scenario
from bench.stylize import stylize_file
from bench.stylizers import Unsupported, load_stylizer
from bench.stylizers.cascade import set_precision
from distill.inference import FastDecoder, FastEncoder, Layout
from distill.networks import STAGES, Decoder, Encoder, seed_weights, student_widths
from distill.reference_losses import ReferenceLosses
from distill.transforms import ChannelAffine, FeatureStats
from tests.plain import psnr

pytestmark = pytest.mark.gpu
DEVICE = "cuda:0"


@pytest.fixture(autouse=True)
def plain_float32():
    """TF32 off, as it is for fp32 cells; PyTorch's own default is on for convolutions."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    set_precision("fp32", DEVICE)
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


def random_tensor(channels: int, height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(channels + height)
    return torch.rand(1, channels, height, width, generator=generator)


def networks(stage: int, ratio: int = 16, *, final_relu: bool = False) -> tuple[Encoder, Decoder]:
    widths = student_widths(ratio)
    encoder = Encoder("vgg19", widths, stage)
    decoder = Decoder("vgg19", widths, stage, final_relu=final_relu)
    for seed, network in enumerate((encoder, decoder)):
        seed_weights(network, seed)
        network.requires_grad_(False)
    return encoder, decoder


def random_affine(channels: int) -> ChannelAffine:
    generator = torch.Generator().manual_seed(channels)
    matrix = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    offset = torch.randn(channels, generator=generator, dtype=torch.float64)
    return ChannelAffine(matrix / channels**0.5, offset)


def assert_close(found: Tensor, expected: Tensor, source: Tensor, tolerance: float) -> None:
    """Relative to the largest value going in or coming out."""
    assert found.device.type == "cuda"
    assert found.shape == expected.shape
    scale = max(expected.abs().max(), source.abs().max())
    assert (found.cpu().double() - expected.double()).abs().max() <= tolerance * scale


# Maps of fewer than 256 x 256 pixels are padded by a copy, larger ones at their border only.
SIZES = [(16, 16), (33, 50), (300, 283)]


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float32, 1e-4), (torch.float16, 0.02), (torch.bfloat16, 0.1)],
    ids=["fp32", "fp16", "bf16"],
)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("stage", STAGES)
def test_fast_on_the_gpu_is_plain_on_the_cpu(stage, size, dtype, tolerance):
    if dtype == torch.bfloat16 and not torch.cuda.is_bf16_supported(including_emulation=False):
        pytest.skip("no native bfloat16 on this GPU")
    encoder, decoder = networks(stage, final_relu=stage % 2 == 0)
    image = random_tensor(3, *size)
    features = encoder(image)
    affine = random_affine(features.shape[1])
    matched = affine(features)
    expected = decoder(matched)

    layout = Layout.of(DEVICE, dtype)
    found = FastEncoder(encoder, layout)([image.to(DEVICE)])
    assert_close(found, features, image, tolerance)
    found = FastDecoder(decoder, layout)([layout.place(features)], affine)
    assert_close(found, expected, matched, tolerance)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_maps_stay_in_the_memory_format_of_the_layout(dtype, memory_format):
    """Statistics are taken of a view of them: in another format that would be a copy."""
    encoder, _ = networks(3)
    layout = Layout(torch.device(DEVICE), dtype, memory_format)
    for size in ((64, 48), (1200, 1100)):
        features = FastEncoder(encoder, layout)([random_tensor(3, *size)])
        assert features.dtype == dtype
        assert features.is_contiguous(memory_format=memory_format)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
# The last is more than is centred at a time on a GPU.
@pytest.mark.parametrize("shape", [(128, 1, 1), (24, 31, 17), (64, 600, 600)])
def test_statistics_are_those_of_the_cpu(shape, dtype, memory_format):
    features = (random_tensor(*shape) + 5).to(dtype=dtype, memory_format=memory_format)
    pixels = features[0].flatten(1).double()
    stats = FeatureStats.of(features.to(DEVICE, memory_format=memory_format))
    assert stats.count == pixels.shape[1]
    assert stats.mean.device.type == stats.scatter.device.type == "cpu"
    assert (stats.mean - pixels.mean(1)).abs().max() < 1e-5
    if stats.count > 1:
        assert (stats.covariance - torch.cov(pixels)).abs().max() < 1e-5
    pieces = FeatureStats(shape[0])
    for piece in features.to(DEVICE).tensor_split(3, dim=2):
        if piece.numel():
            pieces.update(piece)
    assert (pieces.covariance - stats.covariance).abs().max() < 1e-5


def loaded(model: str, precision: Any, device: str = DEVICE) -> Any:
    try:
        return load_stylizer(model, device=device, precision=precision)
    except Unsupported as error:
        pytest.skip(error.reason)


@pytest.mark.parametrize("size", [(1, 1), (17, 31), (50, 1), (511, 300)])
@pytest.mark.parametrize("model", ["wct-vgg16-64x", "adain-vgg19-64x"])
def test_pictures_of_any_size(model, size):
    stylizer = loaded(model, "fp32")
    content = random_tensor(3, *size).to(DEVICE)
    before = content.clone()
    output = stylizer.stylize(content, stylizer.encode_style(random_tensor(3, 40, 33)))
    assert output.shape == (1, 3, *size)
    assert output.device.type == "cuda"
    assert output.isfinite().all()
    assert 0 <= output.min() <= output.max() <= 1
    assert torch.equal(content, before)


@pytest.mark.parametrize(
    ("precision", "tolerance"), [("fp32", 1e-3), ("tf32", 0.03), ("fp16", 0.03), ("bf16", 0.15)]
)
def test_a_picture_is_that_of_the_cpu(precision, tolerance):
    content, style = random_tensor(3, 300, 333), random_tensor(3, 128, 100)
    pictures = []
    for device, chosen in (("cpu", "fp32"), (DEVICE, precision)):
        stylizer = loaded("adain-vgg16-16x", chosen, device)
        pictures.append(stylizer.stylize(content, stylizer.encode_style(style)).float().cpu())
    error = (pictures[0] - pictures[1]).square().mean().sqrt()
    assert error < tolerance


def test_arithmetic_is_set_for_each_precision():
    if torch.cuda.get_device_capability(DEVICE) < (8, 0):
        with pytest.raises(Unsupported, match="compute capability 8"):
            set_precision("tf32", DEVICE)
    else:
        set_precision("tf32", DEVICE)
        assert torch.backends.cudnn.allow_tf32
    set_precision("fp32", DEVICE)
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_the_reference_image(shared, students, tmp_path):
    stylize_file(
        shared / "images/content/wct-in4.jpg",
        shared / "images/style/wct-in2.jpg",
        tmp_path / "out.png",
        model=f"wct-vgg19-16x:{students}",
        size="512x512",
        device=DEVICE,
    )
    expected = read_image(shared / "reference/wct16x_wct-in4_wct-in2_512.png")
    assert psnr(read_image(tmp_path / "out.png"), expected) >= 48


def test_losses_are_those_of_the_cpu():
    images = random_tensor(3, 96, 80), random_tensor(3, 96, 80).flip(3).square()
    found = []
    for device in ("cpu", DEVICE):
        losses = ReferenceLosses("vgg16-normalised", device)
        first, second = (losses.features(image.to(device)) for image in images)
        layers = losses.style_losses(first, second)
        found.append([losses.content_loss(first, second), *layers.values()])
    assert found[1] == pytest.approx(found[0], rel=1e-2)


@pytest.mark.parametrize(
    ("dtype", "needed_gb"), [(torch.float16, 24), (torch.float32, 48)], ids=["fp16", "fp32"]
)
def test_maps_of_more_than_two_to_the_31_elements(dtype, needed_gb):
    """64 channels of 33.9 MP: beyond 32-bit positions. Corners as of small images."""
    free, _ = torch.cuda.mem_get_info(DEVICE)
    if free < needed_gb * 1e9:
        pytest.skip(f"needs {needed_gb} GB of free GPU memory; {free / 1e9:.0f} GB are free")
    side, corner, inner = 5824, 256, 192
    encoder, decoder = networks(2, ratio=1)
    layout = Layout.of(DEVICE, dtype)
    run_encoder, run_decoder = FastEncoder(encoder, layout), FastDecoder(decoder, layout)
    torch.manual_seed(0)
    image = torch.rand(1, 3, side, side, device=DEVICE, dtype=dtype)
    assert 64 * side**2 > 2**31

    def rebuilt(x: Tensor) -> Tensor:
        features = run_encoder([x])
        stats = FeatureStats.of(features)
        assert stats.count == features.shape[2] * features.shape[3]
        assert stats.covariance.isfinite().all()
        return run_decoder([features])

    with torch.inference_mode():
        whole = rebuilt(image)
        first = rebuilt(image[..., :corner, :corner])[..., :inner, :inner]
        last = rebuilt(image[..., -corner:, -corner:])[..., -inner:, -inner:]
    tolerance = 0.02 if dtype == torch.float16 else 1e-4
    for found, expected in (
        (whole[..., :inner, :inner], first),
        (whole[..., -inner:, -inner:], last),
    ):
        scale = expected.abs().max().float()
        assert scale > 0
        assert (found.float() - expected.float()).abs().max() <= tolerance * scale


def test_clock_and_meter_of_a_real_pass():
    meter = meter_for(DEVICE)
    stylizer = loaded("adain-vgg16-16x", "fp32")
    content = random_tensor(3, 512, 512).to(DEVICE)
    code = stylizer.encode_style(random_tensor(3, 64, 64))

    def run() -> None:
        stylizer.stylize(content, code)

    latency = measure_latency(
        run,
        clock=clock_for(DEVICE),
        warmup=2,
        min_repeats=6,
        max_repeats=6,
        target_ci=0.5,
        budget_s=60,
    )
    assert latency.device_samples_ms is not None
    assert len(latency.device_samples_ms) == len(latency.samples_ms) == 6
    for device_ms, wall_ms in zip(latency.device_samples_ms, latency.samples_ms, strict=True):
        assert 0 < device_ms <= wall_ms + 0.05
    assert throughput_seconds_per_call(run, device=DEVICE, repeats=3) > 0

    meter.baseline()
    meter.start()
    run()
    peaks = meter.stop()
    # At least a map of 16 channels going into a convolution and one coming out.
    assert peaks["peak_allocated_mb"] >= 2 * 16 * 512 * 512 * 4 / 1e6
    assert peaks["peak_reserved_mb"] >= peaks["peak_allocated_mb"]
    if "peak_device_mb" in peaks:
        assert peaks["peak_device_mb"] > peaks["peak_reserved_mb"]


# ---------------------------------------------------------------------------------------- real runs


def records_of(tmp_path: Path, **keys: Any) -> list[Record]:
    scenario = Scenario.model_validate(
        {
            "name": "cuda",
            "device": "cuda",
            "style_resolution": "128x128",
            **keys,
            "measure": {
                "warmup": 1,
                "min_repeats": 6,
                "max_repeats": 8,
                "target_ci": "10%",
                "energy": "off",
                **keys.get("measure", {}),
            },
        }
    )
    return run_scenario(scenario, out=tmp_path, quiet=True).records()


def test_a_run_writes_what_it_measured(tmp_path):
    records = records_of(
        tmp_path,
        models=["adain-vgg16-64x", "wct-vgg16-64x"],
        precision=["fp32", "fp16"],
        resolutions=["64x48", "640x480"],
    )
    assert len(records) == 8
    with nvml() as api:
        has_nvml = api is not None
    for record in records:
        assert (record.status, record.reason) == ("ok", None)
        assert record.device == DEVICE
        assert record.device_latency_ms is not None
        assert record.latency_ms is not None
        assert 0 < record.device_latency_ms <= record.latency_ms + 0.05
        assert (
            len(record.device_samples_ms or [])
            == record.repeats
            == len(record.latency_samples_ms or [])
        )
        assert (record.throughput_mp_s or 0) > 0
        assert (record.peak_allocated_mb or 0) > 0
        assert (record.peak_reserved_mb or 0) >= (record.peak_allocated_mb or 0)
        assert record.peak_rss_growth_mb is None
        if has_nvml:
            assert (record.peak_device_mb or 0) > (record.peak_reserved_mb or 0)


def test_a_map_beyond_the_memory_cap_is_a_record(tmp_path):
    """64 channels of 16.8 MP are 4.3 GB, which 2 GB do not hold."""
    (record,) = records_of(
        tmp_path,
        models="adain-vgg16-1x",
        resolutions="4096x4096",
        memory_cap="2GB",
    )
    assert record.status == "out_of_memory"
    assert record.reason_code == "cuda_allocator"
    assert record.requested_mb is not None
    assert record.requested_mb > 1000
    assert record.free_mb is not None
    assert record.free_mb < 2000
    assert "while stylizing for the first time" in (record.reason or "")
    assert record.memory_cap_mb == 2000
    assert "PyTorch's CUDA allocator limited to" in (record.memory_cap_mechanism or "")
    assert record.gmacs is not None


def test_energy_and_conditions_of_a_real_card(tmp_path):
    (record,) = records_of(
        tmp_path, models="adain-vgg16-16x", resolutions="512x512", measure={"energy": "auto"}
    )
    assert (record.status, record.attempts, record.cudnn_benchmark) == ("ok", 1, False)
    assert record.conditions is not None
    absent = record.conditions_absent or {}
    for field in ("gpu_sm_clock_max_mhz", "gpu_temperature_end_c", "gpu_power_max_w"):
        assert (getattr(record, field) or 0) > 0 or absent[field]
    assert record.gpu_clock_reasons is not None or absent["gpu_clock_reasons"]
    if record.energy_source is None:
        assert record.energy_reason
        return
    assert record.energy_reason is None
    assert (record.energy_idle_w or 0) > 0
    assert record.energy_mean_w > record.energy_idle_w
    assert record.energy_j_per_image > record.energy_net_j_per_image > 0
    assert record.energy_window_s >= max(2.0, 20 * record.energy_period_ms / 1e3)
    assert record.energy_passes * record.energy_j_per_image == pytest.approx(
        record.energy_mean_w * record.energy_window_s
    )
    assert 0 <= record.energy_relative_spread < 1


UNDER_A_BALLAST = """
import json, torch
from bench.measure.ballast import held_bytes, release_ballast
from bench.measure.cap import apply_cap
sentence = apply_cap(2_000_000_000, "cuda:0")
free, total = torch.cuda.mem_get_info("cuda:0")
held = held_bytes("cuda:0")
x = torch.ones(250_000_000, dtype=torch.uint8, device="cuda:0")
release_ballast("cuda:0")
after, _ = torch.cuda.mem_get_info("cuda:0")
print(json.dumps([sentence, held, free, after, int(x[-1]), held_bytes("cuda:0")]))
"""


def test_under_a_cap_the_card_looks_small_until_the_ballast_is_given_back():
    done = subprocess.run(
        [sys.executable, "-c", UNDER_A_BALLAST],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    sentence, held, free, after, last, left = json.loads(done.stdout)
    assert (last, left) == (1, 0)
    if not held:
        assert "no ballast: " in sentence
        return
    assert "a ballast of" in sentence
    assert 0 < free < 2_000_000_000
    assert after - free > 0.9 * held - 250_000_000


def test_a_check_of_the_pytest_plugin_is_timed_to_the_end_and_metered_by_the_allocator():
    def run() -> None:
        torch.ones(25_000_000, device=DEVICE)

    values = measure_callable(run, device=DEVICE, time_s=0.2)
    assert 100 <= values["peak_allocated_mb"] < 1000
    assert values["latency_ms"] >= values["device_latency_ms"] > 0
    with pytest.raises(pytest.fail.Exception, match="--performance-device cuda"):
        measure_callable(run, device="cpu", time_s=0.2)
