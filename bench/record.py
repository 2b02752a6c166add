"""A record: what one cell gave, flat, with units in the names. The file format of a run."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

SCHEMA_VERSION = 1

Status = Literal["ok", "out_of_memory", "timeout", "crashed", "unsupported", "skipped", "predicted"]
FAILED: frozenset[str] = frozenset({"out_of_memory", "timeout", "crashed"})
"""Statuses that `--retry-failed` repeats."""


BAD_INPUT = "bad_input"
"""Reason code of a cell whose images or weights cannot be used; the reason says what to do."""
SOME_PAIRS = "some_pairs"
"""Reason code of a quality cell that has some of its pairs: a limit ended it, or an image could not
be read."""


def cut_by_run(status: str, reason_code: str | None) -> bool:
    """Whether the run's time limit stopped a cell, or kept it from starting.

    That says nothing of the cell, unlike its own limit.
    """
    return status in ("timeout", "skipped") and reason_code == "run_time_limit"


class Record(BaseModel):
    """One cell's result. Absent values are null; ``MB`` is 10^6 bytes; ``ms`` are milliseconds."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int = SCHEMA_VERSION
    id: str
    repeat: int = 0

    # what was measured
    kind: Literal["performance", "quality"]
    model: str
    method: str
    family: str
    ratio: int
    execution: str
    precision: str
    device: str
    width: int
    height: int
    megapixels: float
    style_width: int
    style_height: int
    alpha: float
    seed: int
    threads: int | None = None
    content: list[str]
    style: list[str]
    memory_cap_mb: float | None = None
    memory_cap_mechanism: str | None = None
    code_version: str

    # the model
    weights: Literal["trained", "random"] | None = None
    weights_detail: str | None = None
    weights_digest: str | None = None
    parameters: int | None = None
    storage_mb: float | None = None
    """Parameters in the cell's precision."""
    gmacs: float | None = None
    """Multiply-accumulates of the convolutions for the content image, in 10^9."""
    gflops: float | None = None
    """Twice ``gmacs``."""

    # how it ended
    status: Status
    reason_code: str | None = None
    """``cuda_allocator``, ``host_allocator``, ``killed``, ``exception``, ``time_limit``,
    ``run_time_limit``, ``predicted``, ``random_weights``, ``precision``, ..."""
    reason: str | None = None
    """One sentence for a person."""
    requested_mb: float | None = None
    free_mb: float | None = None
    signal: int | None = None
    estimate_s: float | None = None
    """Predicted time of one pass, where that decided (extrapolated, not measured)."""
    started_at: str | None = None
    duration_s: float | None = None

    # latency: content image in memory to stylised image in memory
    latency_ms: float | None = None
    """Median wall time of one pass."""
    latency_ci_low_ms: float | None = None
    latency_ci_high_ms: float | None = None
    latency_samples_ms: list[float] | None = None
    latency_outliers: list[int] | None = None
    """Positions in ``latency_samples_ms`` beyond Tukey's outer fences; they are kept."""
    repeats: int | None = None
    warmup: int | None = None
    converged: bool | None = None
    """Whether the interval reached the target before a limit was met."""
    device_latency_ms: float | None = None
    """Median of CUDA event times; null on CPU."""
    device_samples_ms: list[float] | None = None
    throughput_mp_s: float | None = None
    """Content megapixels per second, back to back, no synchronisation between passes."""
    load_ms: float | None = None
    """Cold start: building the networks and reading the weights."""
    first_call_ms: float | None = None
    """Cold start: the first pass."""
    style_encode_ms: float | None = None
    content_load_ms: float | None = None
    """Reading (or generating) and resizing the content."""
    style_load_ms: float | None = None

    # memory: the peak of one pass
    peak_allocated_mb: float | None = None
    """CUDA: PyTorch's allocator, tensors."""
    peak_reserved_mb: float | None = None
    """CUDA: PyTorch's allocator, with its cache."""
    peak_device_mb: float | None = None
    """CUDA: by NVML, context included."""
    peak_rss_growth_mb: float | None = None
    """CPU: peak resident set of the first pass over what stood before it. Large blocks are mapped
    one by one, since what the C library would keep of freed ones differs from process to process;
    not in strips and patches of images above 8 megapixels, which that would slow too much."""

    predicted_peak_mb: float | None = None
    """The peak of one pass as predicted before the cell was run (not measured), in the terms of
    ``peak_allocated_mb`` on CUDA and of ``peak_rss_growth_mb`` on a CPU."""
    predicted_latency_ms: float | None = None
    """``latency_ms`` as predicted from the device's calibration before the cell was run (not
    measured); null where there is none."""
    predicted_first_call_ms: float | None = None
    """``first_call_ms`` predicted likewise; also the latency of a cell that is measured once."""
    # energy: passes back to back, in a window after all else; of the whole card, or of the CPUs
    energy_source: str | None = None
    """``nvml_counter``, ``nvml_power`` (sampled and integrated) or ``rapl`` (CPU packages)."""
    energy_j_per_image: float | None = None
    """Joules of one pass, gross: with what the device takes when it idles."""
    energy_j_per_mp: float | None = None
    """The same over the content's megapixels."""
    energy_net_j_per_image: float | None = None
    """Less idle power over the same time."""
    energy_net_j_per_mp: float | None = None
    energy_mean_w: float | None = None
    """Gross power in the window."""
    energy_idle_w: float | None = None
    """Measured before it, the model loaded and nothing running."""
    energy_window_s: float | None = None
    energy_passes: int | None = None
    energy_period_ms: float | None = None
    """How often the counter was seen to move; the window lasts 20 of these at the least."""
    energy_relative_spread: float | None = None
    """Between the window's parts: largest less smallest, over the mean."""
    energy_cooldown_s: float | None = None
    energy_temperature_start_c: float | None = None
    energy_temperature_end_c: float | None = None
    energy_conditions: list[str] | None = None
    """As ``conditions``, from the cool-down to the end of the window."""
    energy_reason: str | None = None
    """Why energy, or a part of it, was not measured."""

    # what the timing ran under
    conditions: list[str] | None = None
    """``throttled``, ``power_capped``, ``shared``, ``clock_changed``, ``stolen``, ``swapping``;
    empty: it was watched and nothing was found."""
    conditions_absent: dict[str, str] | None = None
    """Field of what follows that could not be watched: why."""
    attempts: int | None = None
    """How often the timing was taken; that with the fewest disturbances is kept."""
    watched_s: float | None = None
    """Seconds of the timing, its warm-up included."""
    other_load_cores: float | None = None
    """Cores that other processes kept busy, on average."""
    steal_cores: float | None = None
    """Cores whose time the hypervisor gave to others."""
    cpu_mhz_start: float | None = None
    """Of the fastest core, right before the timing; right after it: ``cpu_mhz_end``."""
    cpu_mhz_end: float | None = None
    cpu_thermal_throttles: int | None = None
    """How often a core or a package was slowed down for heat."""
    cgroup_throttled_ms: float | None = None
    """Time that a quota of the control group stopped its processes for."""
    swapped_mb: float | None = None
    """Of the whole machine, in and out."""
    gpu_sm_clock_min_mhz: float | None = None
    gpu_sm_clock_max_mhz: float | None = None
    gpu_memory_clock_min_mhz: float | None = None
    gpu_memory_clock_max_mhz: float | None = None
    gpu_temperature_start_c: float | None = None
    gpu_temperature_end_c: float | None = None
    gpu_power_mean_w: float | None = None
    gpu_power_max_w: float | None = None
    gpu_clock_reasons: list[str] | None = None
    """NVML's clocks event reasons that were seen, by name."""
    gpu_other_processes: int | None = None
    """Compute processes on the card besides the worker's."""
    cudnn_benchmark: bool | None = None
    """CUDA: whether cuDNN tried its algorithms to find the fastest."""
    strip_rows: int | None = None
    """Strips: their height in image lines."""

    # quality: means over the pairs
    quality_network: str | None = None
    lpips_backbone: str | None = None
    """Where the AlexNet of LPIPS was found: ``cache``, ``download``, a file, or ``embedded`` with
    its number formats; null where nothing needed it, and in records of before there was one."""
    quality_pairs: int | None = None
    metrics_s: float | None = None
    """Seconds of computing the metrics, over all pairs; stylising not included."""
    metrics_load_s: float | None = None
    """Of these, loading their networks: once, whatever the size."""
    metrics_set_s: float | None = None
    """Of these, the metrics of the set, which bring images to a size of their own."""
    content_loss: float | None = None
    style_loss: float | None = None
    style_loss_relu1_1: float | None = None
    style_loss_relu2_1: float | None = None
    style_loss_relu3_1: float | None = None
    style_loss_relu4_1: float | None = None
    style_loss_relu5_1: float | None = None
    style_loss_adain: float | None = None
    style_loss_adain_relu1_1: float | None = None
    style_loss_adain_relu2_1: float | None = None
    style_loss_adain_relu3_1: float | None = None
    style_loss_adain_relu4_1: float | None = None
    lpips: float | None = None
    lpips_teacher: float | None = None
    ssim: float | None = None
    ms_ssim: float | None = None
    psnr_teacher: float | None = None
    """dB; infinite where every output equals the teacher's."""

    # quality: of the outputs as one set
    fid: float | None = None
    kid: float | None = None
    kid_low: float | None = None
    """Of the 95 % interval, as ``kid_high``."""
    kid_high: float | None = None
    isc: float | None = None
    isc_low: float | None = None
    isc_high: float | None = None
    precision_inception: float | None = None
    recall_inception: float | None = None
    artfid_inception: float | None = None
    fd_vgg: float | None = None
    kd_vgg: float | None = None
    kd_vgg_low: float | None = None
    kd_vgg_high: float | None = None
    precision_vgg: float | None = None
    recall_vgg: float | None = None
    art_fd_vgg: float | None = None

    # quality: what the values are
    quality_teacher: str | None = None
    """Model whose outputs were compared with."""
    quality_other: dict[str, float] | None = None
    """Values of metrics that have no field of their own: those of plug-ins."""
    quality_definitions: dict[str, str] | None = None
    """Metric computed: what it is, in one sentence."""
    quality_notes: dict[str, str] | None = None
    """Metric computed: what limits its value, such as a small set."""
    metrics_absent: dict[str, str] | None = None
    """Metric asked for and not computed: why."""
    per_pair: list[dict[str, Any]] | None = None
    """One entry a pair: content, style, image (path in the run folder) and every metric."""
