import contextlib
import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pynvml
import pytest
import torch

from bench.measure import ballast, memory
from bench.measure import out_of_memory as shortage
from bench.measure.cap import apply_cap
from bench.measure.memory import meter_for
from bench.measure.out_of_memory import OutOfMemory, out_of_memory
from distill import host

ROOT = Path(__file__).parents[2]
MIB = 2**20 / 1e6
GIB = 2**30 / 1e6

needs_data_limit = pytest.mark.skipif(
    sys.platform != "linux" or host.status_bytes("VmData") is None,
    reason="needs Linux with /proc",
)
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")


def in_a_process(code):
    """What ``code`` prints as JSON, run by a Python of its own."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ----------------------------------------------------------------------------------------- cap

UNDER_A_CAP = """
import dataclasses, json, resource, sys
import numpy, torch
from bench.measure.cap import apply_cap
from bench.measure.out_of_memory import out_of_memory
from distill.host import status_bytes

torch.set_num_threads(3)
before = status_bytes("VmData")
results = {"sentence": apply_cap(200_000_000, "cpu")}
results["limit"], results["hard"] = resource.getrlimit(resource.RLIMIT_DATA)
results["before"] = before

def attempt(name, action):
    try:
        action()
    except Exception as error:
        found = out_of_memory(error)
        results[name] = None if found is None else dataclasses.asdict(found)
        results[name + " text"] = f"{type(error).__name__}: {error}"
    else:
        results[name] = "no error"

def hoard(make):
    kept = []
    while True:
        kept.append(make())

attempt("fits", lambda: torch.ones(37_500_000))
attempt("tensor", lambda: torch.empty(1_000_000_000))
def second():
    first = torch.ones(37_500_000)
    return first, torch.ones(25_000_000)
attempt("second tensor", second)
attempt("small tensors", lambda: hoard(lambda: torch.empty(1000)))
attempt("python", lambda: bytearray(1_000_000_000))
attempt("lists", lambda: hoard(lambda: [0] * 1000))
attempt("numpy", lambda: numpy.empty(2**30, dtype=numpy.uint8))
attempt("onednn", lambda: (_ for _ in ()).throw(RuntimeError("could not create a primitive")))
attempt("unsupported", lambda: (_ for _ in ()).throw(
    RuntimeError("could not create a primitive descriptor for the convolution primitive")))
attempt("goes on", lambda: torch.ones(10_000_000).add_(1).sum())
print(json.dumps(results))
"""


@pytest.fixture(scope="module")
def capped():
    return in_a_process(UNDER_A_CAP)


@needs_data_limit
def test_the_cap_limits_growth_and_names_mechanism_and_numbers(capped):
    assert capped["fits"] == "no error"
    assert capped["limit"] >= 200_000_000
    # The threads started for the cap may add to what was there before; tens of MB at most.
    assert capped["limit"] - capped["before"] == pytest.approx(200_000_000, abs=60e6)
    assert capped["hard"] == -1 or capped["hard"] >= capped["limit"]
    assert "RLIMIT_DATA" in capped["sentence"]
    assert f"{capped['limit'] / 1e6:.1f} MB" in capped["sentence"]
    assert "200.0 MB" in capped["sentence"]


@needs_data_limit
def test_a_tensor_too_large_says_what_it_asked_for_and_what_was_left(capped):
    found = capped["tensor"]
    assert found["code"] == "host_allocator"
    assert found["requested_mb"] == 4000
    assert 0 < found["free_mb"] <= 200
    assert "4000.0 MB" in found["message"]


@needs_data_limit
def test_the_sum_of_tensors_is_limited(capped):
    assert capped["second tensor"]["code"] == "host_allocator"
    assert capped["second tensor"]["requested_mb"] == 100


@needs_data_limit
@pytest.mark.parametrize("way", ["small tensors", "python", "lists", "numpy", "onednn"])
def test_every_way_to_run_out_of_host_memory_is_recognised(capped, way):
    assert capped[way] is not None, capped[f"{way} text"]
    assert capped[way]["code"] == "host_allocator"


@needs_data_limit
def test_numpys_amount_is_read(capped):
    assert capped["numpy"]["requested_mb"] == pytest.approx(GIB, rel=0.01)


@needs_data_limit
def test_an_unsupported_primitive_is_not_out_of_memory(capped):
    assert capped["unsupported"] is None
    assert "descriptor" in capped["unsupported text"]


@needs_data_limit
def test_the_process_goes_on_after_running_out(capped):
    assert capped["goes on"] == "no error"


@needs_data_limit
def test_threads_run_under_a_cap_smaller_than_their_stacks():
    code = """
import json, torch
torch.set_num_threads(3)
from bench.measure.cap import apply_cap
x = torch.ones(1_000_000)
apply_cap(3_000_000, "cpu")
print(json.dumps(x.add_(1).sum().item()))
"""
    assert in_a_process(code) == 2_000_000


@needs_data_limit
def test_a_limit_that_the_process_came_with_is_not_raised():
    code = """
import json, resource, torch
from bench.measure.cap import apply_cap
from distill.host import status_bytes
came_with = status_bytes("VmData") + 300_000_000
resource.setrlimit(resource.RLIMIT_DATA, (came_with, came_with))
sentence = apply_cap(10**12, "cpu")
print(json.dumps([sentence, came_with, resource.getrlimit(resource.RLIMIT_DATA)]))
"""
    sentence, came_with, limits = in_a_process(code)
    assert limits == [came_with, came_with]
    assert "lowered by the limit the process was started with" in sentence


def test_no_cap_changes_nothing():
    before = shortage._data_limit()
    assert apply_cap(None, "cpu") is None
    assert apply_cap(None, "cuda:0") is None
    assert shortage._data_limit() == before


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_the_cap_cannot_be_enforced_the_record_says_so(monkeypatch, tmp_path, platform):
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr(host, "PROC", tmp_path)
    assert apply_cap(10**9, "cpu").startswith("not enforced:")


class FakeCuda:
    """A card of 12,000 MB of which other processes use 1,000 and this one's context 400."""

    def __init__(self, monkeypatch, *, listed=True, nvml=True):
        self.total, self.others, self.context, self.reserved = 12_000_000_000, 10**9, 4 * 10**8, 0
        self.peak_reserved = 0
        self.initialised = False
        self.listed = listed
        self.fraction = None
        self.ballast = 0
        self.neighbours = []
        monkeypatch.setattr(ballast, "_HELD", {})
        monkeypatch.setattr(ballast, "_driver", lambda: self)
        fakes = {
            "is_initialized": lambda: self.initialised,
            "mem_get_info": lambda device: (self.total - self.used(), self.total),
            "memory_reserved": lambda device: self.reserved,
            "max_memory_reserved": lambda device: self.peak_reserved,
            "max_memory_allocated": lambda device: self.peak_reserved - 10**6,
            "synchronize": lambda device=None: None,
            "empty_cache": lambda: None,
            "reset_peak_memory_stats": lambda device: None,
            "get_device_properties": lambda device: SimpleNamespace(uuid="1234", is_integrated=0),
            "device": lambda device: contextlib.nullcontext(),
            "set_per_process_memory_fraction": self.limit,
        }
        for name, fake in fakes.items():
            monkeypatch.setattr(torch.cuda, name, fake)
        monkeypatch.setattr(torch, "empty", self.initialise)
        monkeypatch.setattr("bench.measure.nvml.pynvml", self)
        if not nvml:
            monkeypatch.setattr(self, "nvmlInit", self.refuse)

    NVMLError = pynvml.NVMLError

    def refuse(self):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)

    def initialise(self, *shape, device):
        self.initialised = True
        self.reserved = 2 * 10**6

    def limit(self, fraction, device):
        self.fraction = fraction

    def used(self):
        own = self.context + self.reserved + self.ballast
        return self.others + (own if self.initialised else 0)

    def cuMemAlloc_v2(self, address, size):  # noqa: N802
        if size.value > self.total - self.used():
            return 2
        self.ballast = size.value
        return 0

    def cuMemFree_v2(self, address):  # noqa: N802
        self.ballast = 0
        return 0

    def nvmlInit(self):  # noqa: N802
        pass

    nvmlShutdown = nvmlInit  # noqa: N815

    def nvmlDeviceGetCount(self):  # noqa: N802
        return 1

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return "card"

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        if uuid != "GPU-1234":
            raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_FOUND)
        return "card"

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return "GPU-1234"

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(used=self.used(), total=self.total)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        used = self.context + self.reserved + self.ballast
        own = SimpleNamespace(pid=os.getpid(), usedGpuMemory=used)
        return [own, *self.neighbours] if self.listed else self.neighbours


@pytest.mark.parametrize("listed", [True, False])
def test_the_cuda_cap_leaves_room_for_the_context(monkeypatch, listed):
    card = FakeCuda(monkeypatch, listed=listed)
    sentence = apply_cap(6_000_000_000, "cuda:0")
    assert card.fraction * card.total == pytest.approx(5_600_000_000)
    assert "5600.0 MB" in sentence
    assert "the CUDA context's 400.0 MB" in sentence


def test_without_nvml_all_that_is_in_use_counts_as_context_and_is_called_so(monkeypatch):
    card = FakeCuda(monkeypatch, nvml=False)
    sentence = apply_cap(6_000_000_000, "cuda:0")
    assert card.fraction * card.total == pytest.approx(4_600_000_000)
    assert "other processes" in sentence


@pytest.mark.parametrize("cap", [12_000_000_000, 80_000_000_000])
def test_a_cap_that_is_not_below_the_card_is_no_limit(monkeypatch, cap):
    card = FakeCuda(monkeypatch)
    assert apply_cap(cap, "cuda:0").startswith("no limit:")
    assert card.fraction is None


def test_a_cap_below_the_context_leaves_nothing(monkeypatch):
    card = FakeCuda(monkeypatch)
    apply_cap(10**8, "cuda:0")
    assert card.fraction == 0.0


def test_a_ballast_leaves_free_what_the_small_card_would_have(monkeypatch):
    card = FakeCuda(monkeypatch)
    sentence = apply_cap(6_000_000_000, "cuda:0")
    free, _ = torch.cuda.mem_get_info("cuda:0")
    # The cap less the context and what the allocator holds; the driver gives pieces of 2 MiB.
    assert 0 <= free - (6_000_000_000 - card.context - card.reserved) < 2**21
    assert f"a ballast of {card.ballast / 1e6:.1f} MB leaves {free / 1e6:.1f} MB" in sentence
    # It is outside PyTorch's limit, and no memory of the pass.
    assert card.fraction * card.total == pytest.approx(5_600_000_000)
    assert meter_for("cuda:0").stop()["peak_device_mb"] == 400
    ballast.release_ballast("cuda:0")
    assert card.ballast == 0
    assert ballast.held_bytes("cuda:0") == 0


@pytest.mark.parametrize("listed", [True, False])
def test_no_ballast_on_a_card_that_others_use(monkeypatch, listed):
    card = FakeCuda(monkeypatch, listed=listed)
    # Where no entry is this process, one is taken for it under another number.
    card.neighbours = [SimpleNamespace(pid=-pid, usedGpuMemory=1) for pid in range(1, 4)]
    sentence = apply_cap(6_000_000_000, "cuda:0")
    assert f"no ballast: {3 if listed else 2} other process(es) use the card" in sentence
    assert "allocator limited to 5600.0 MB" in sentence
    assert card.ballast == 0


def test_no_ballast_where_less_is_free_than_the_small_card_has(monkeypatch):
    card = FakeCuda(monkeypatch)
    card.others = 7 * 10**9
    sentence = apply_cap(6_000_000_000, "cuda:0")
    assert "no ballast: 4598.0 MB of the card are free, no more than the 5598.0 MB" in sentence


def test_no_ballast_without_nvml_and_on_a_card_in_the_hosts_memory(monkeypatch):
    FakeCuda(monkeypatch, nvml=False)
    assert "no ballast: whether other processes use the card is not known" in apply_cap(
        6_000_000_000, "cuda:0"
    )
    FakeCuda(monkeypatch)
    shared = SimpleNamespace(uuid="1234", is_integrated=1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: shared)
    assert "no ballast: the card shares its memory" in apply_cap(6_000_000_000, "cuda:0")


def test_a_refusal_of_the_driver_is_said(monkeypatch):
    card = FakeCuda(monkeypatch)
    monkeypatch.setattr(card, "cuMemAlloc_v2", lambda address, size: 2, raising=False)
    assert "no ballast: the driver refused 4" in apply_cap(6_000_000_000, "cuda:0")


def test_a_system_that_ignores_the_limit_is_named(monkeypatch):
    limits = []
    resource = pytest.importorskip("resource", reason="POSIX only")
    monkeypatch.setattr(resource, "setrlimit", lambda *limit: limits.append(limit))
    assert apply_cap(10**9, "cpu").startswith("not enforced: this system lets a process pass")
    assert len(limits) == 1


@needs_data_limit
def test_temporary_files_in_memory_are_named():
    code = """
import json, psutil, tempfile
from types import SimpleNamespace
from pathlib import Path
import bench.measure.cap as cap
folder = str(Path(tempfile.gettempdir()).resolve())
sentences = []
for kind in ("tmpfs", "ext4"):
    mounts = [SimpleNamespace(mountpoint="/", fstype="xfs")]
    mounts.append(SimpleNamespace(mountpoint=folder, fstype=kind))
    psutil.disk_partitions = lambda all: mounts
    sentences.append(cap.apply_cap(10**9, "cpu"))
print(json.dumps([folder, *sentences]))
"""
    folder, in_memory, on_disc = in_a_process(code)
    assert f"files in {folder} lie in memory and are not limited" in in_memory
    assert "lie in memory" not in on_disc


# -------------------------------------------------------------------------------------- meters


@needs_data_limit
def test_the_growth_is_that_of_the_pass_between_start_and_stop():
    code = """
import json, torch
from bench.measure.memory import meter_for
weights = torch.ones(20_000_000)
meter = meter_for("cpu")
meter.baseline()
larger = torch.ones(100_000_000); del larger
growths = []
for elements in (50_000_000, 25_000_000, 0):
    meter.start()
    x = torch.ones(elements); del x
    growths.append(meter.stop()["peak_rss_growth_mb"])
print(json.dumps(growths))
"""
    large, small, nothing = in_a_process(code)
    assert large == pytest.approx(200, abs=15)
    assert small == pytest.approx(100, abs=15)
    assert 0 <= nothing < 15


def test_without_a_reset_a_mark_that_rose_gives_the_growth(monkeypatch):
    marks = iter([900e6, 1200e6])
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    meter = _host_meter(monkeypatch, resident=500e6, marks=marks)
    assert meter.stop() == {"peak_rss_growth_mb": 700}


def test_without_a_reset_a_mark_of_earlier_times_gives_nothing(monkeypatch):
    marks = iter([900e6, 900e6])
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: False)
    meter = _host_meter(monkeypatch, resident=500e6, marks=marks)
    assert meter.stop() == {}


def test_growth_is_never_negative(monkeypatch):
    marks = iter([900e6, 400e6])
    monkeypatch.setattr(memory, "_reset_high_water_mark", lambda: True)
    meter = _host_meter(monkeypatch, resident=500e6, marks=marks)
    assert meter.stop() == {"peak_rss_growth_mb": 0}


def _host_meter(monkeypatch, *, resident, marks):
    meter = meter_for("cpu")
    process = SimpleNamespace(memory_info=lambda: SimpleNamespace(rss=resident))
    monkeypatch.setattr(memory.psutil, "Process", lambda: process)
    monkeypatch.setattr(memory, "_high_water_mark", lambda: next(marks))
    meter.baseline()
    meter.start()
    return meter


@pytest.mark.skipif(sys.platform == "win32", reason="getrusage is not there")
def test_the_mark_without_proc_is_in_bytes(monkeypatch, tmp_path):
    with_proc = memory._high_water_mark()
    monkeypatch.setattr(host, "PROC", tmp_path)
    assert memory._high_water_mark() >= 0.9 * with_proc
    assert memory._high_water_mark() < 100e9
    assert not memory._reset_high_water_mark()


@pytest.mark.parametrize("listed", [True, False])
def test_the_cuda_peaks_include_what_the_allocator_gave_back(monkeypatch, listed):
    card = FakeCuda(monkeypatch, listed=listed)
    meter = meter_for("cuda:0")
    meter.baseline()
    card.initialised = True
    meter.start()
    card.reserved, card.peak_reserved = 3 * 10**9, 5 * 10**9
    assert meter.stop() == {
        "peak_allocated_mb": 4999,
        "peak_reserved_mb": 5000,
        "peak_device_mb": 5400,
    }


def test_a_device_figure_that_cannot_be_told_from_others_is_absent(monkeypatch):
    card = FakeCuda(monkeypatch, listed=False)
    card.initialised = True
    assert "peak_device_mb" not in meter_for("cuda:0").stop()


def test_without_nvml_the_device_figure_is_absent(monkeypatch):
    FakeCuda(monkeypatch, nvml=False)
    assert set(meter_for("cuda:0").stop()) == {"peak_allocated_mb", "peak_reserved_mb"}


# ------------------------------------------------------------------------------- out of memory

CUDA_FREE = (
    "CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total capacity of 44.67 GiB of "
    "which 18.94 MiB is free. Process 3648460 has 3.00 GiB memory in use. Of the allocated memory "
    "12.13 GiB is allocated by PyTorch, and 27.33 MiB is reserved by PyTorch but unallocated. If "
    "reserved but unallocated memory is large try setting "
    "PYTORCH_CUDA_ALLOC_CONF=expandable_segments:True to avoid fragmentation."
)
CUDA_CAPPED = (
    "CUDA out of memory. Tried to allocate 2.50 GiB. GPU 0 has a total capacity of 139.72 GiB of "
    "which 125.00 GiB is free. Including non-PyTorch memory, this process has 10.60 GiB memory in "
    "use. 11.18 GiB allowed; Of the allocated memory 9.00 GiB is allocated by PyTorch, with 1.00 "
    "GiB allocated in private pools (e.g., CUDA Graphs), and 1.18 GiB is reserved by PyTorch but "
    "unallocated."
)
CUDA_NOTHING = (
    "CUDA out of memory. Tried to allocate 512 bytes. GPU 1 has a total capacity of 6.00 GiB of "
    "which 0 bytes is free. Of the allocated memory 2.93 GiB is allocated by PyTorch, and 2.30 KiB "
    "is reserved by PyTorch but unallocated."
)


@pytest.mark.parametrize(
    ("text", "requested", "free"),
    [
        (CUDA_FREE, 20 * MIB, 18.94 * MIB),
        # The card has 125 GiB, but of the 11.18 GiB allowed only 1 GiB is left.
        (CUDA_CAPPED, 2.5 * GIB, 1.0 * GIB),
        (CUDA_NOTHING, 512e-6, 0.0),
        ("CUDA out of memory. Tried to allocate more than 1EB memory.", None, None),
    ],
)
def test_pytorchs_cuda_error_is_read(text, requested, free):
    found = out_of_memory(torch.OutOfMemoryError(text))
    assert found.code == "cuda_allocator"
    assert found.requested_mb == (None if requested is None else pytest.approx(requested))
    assert found.free_mb == (None if free is None else pytest.approx(free))
    assert "out of memory" in found.message
    assert "\n" not in found.message


@pytest.mark.parametrize(
    "text",
    [
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cusolver error: CUSOLVER_STATUS_ALLOC_FAILED, when calling `cusolverDnCreate(handle)`",
        "CUDA error: out of memory\nCUDA kernel errors might be reported asynchronously",
        "CUDA driver error: out of memory",
    ],
)
def test_cuda_libraries_without_memory_are_recognised(text):
    found = out_of_memory(RuntimeError(text))
    assert found == OutOfMemory(
        "cuda_allocator", None, None, f"CUDA out of memory: {text.splitlines()[0]}"
    )


def test_a_convolution_without_an_algorithm_lacks_memory_only_where_that_is_limited(monkeypatch):
    error = RuntimeError("GET was unable to find an engine to execute this computation")
    assert out_of_memory(error) is None
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: 1.0)
    assert out_of_memory(error) is None
    monkeypatch.setattr(torch.cuda, "get_per_process_memory_fraction", lambda: 0.1)
    assert out_of_memory(error).code == "cuda_allocator"


def test_a_thread_that_cannot_start_lacks_memory_only_where_that_is_limited(monkeypatch):
    error = RuntimeError("can't start new thread")
    assert out_of_memory(error) is None
    monkeypatch.setattr("bench.measure.out_of_memory._data_limit", lambda: 10**8)
    assert out_of_memory(error).code == "host_allocator"


@pytest.mark.parametrize(
    ("error", "requested"),
    [
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate "
                "memory: you tried to allocate 4000000000 bytes. Error code 12 (Cannot allocate "
                "memory)"
            ),
            4000,
        ),
        (
            RuntimeError(
                "[enforce fail at alloc_cpu.cpp:80] data. DefaultCPUAllocator: not enough memory: "
                "you tried to allocate 8000000 bytes."
            ),
            8,
        ),
        (RuntimeError("std::bad_alloc"), None),
        (MemoryError(), None),
        (
            MemoryError("Unable to allocate 3.00 MiB for an array with shape (3, 1024, 1024)"),
            3 * MIB,
        ),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), None),
    ],
)
def test_host_errors_are_read(error, requested):
    found = out_of_memory(error)
    assert found.code == "host_allocator"
    assert found.requested_mb == (None if requested is None else pytest.approx(requested))
    assert found.message.startswith("out of host memory: ")


@pytest.mark.parametrize(
    "error",
    [
        RuntimeError("The size of tensor a (3) must match the size of tensor b (4)"),
        RuntimeError("CUDA error: an illegal memory access was encountered"),
        RuntimeError("cuDNN error: CUDNN_STATUS_NOT_SUPPORTED"),
        ValueError("std::bad_alloc"),
        FileNotFoundError(errno.ENOENT, "No such file"),
        KeyboardInterrupt(),
    ],
)
def test_other_errors_are_not_out_of_memory(error):
    assert out_of_memory(error) is None


def test_onednns_failure_counts_only_under_a_limit(monkeypatch):
    error = RuntimeError("could not create a primitive")
    monkeypatch.setattr(shortage, "_data_limit", lambda: None)
    assert out_of_memory(error) is None
    monkeypatch.setattr(shortage, "_data_limit", lambda: 10**9)
    assert out_of_memory(error).code == "host_allocator"


# ----------------------------------------------------------------------------------------- gpu


@pytest.mark.gpu
@needs_gpu
def test_the_cuda_cap_stops_an_allocation_on_a_real_card():
    code = """
import dataclasses, json, torch
from bench.measure.cap import apply_cap
from bench.measure.memory import meter_for
from bench.measure.out_of_memory import out_of_memory
meter = meter_for("cuda:0")
sentence = apply_cap(2_000_000_000, "cuda:0")
meter.baseline()
meter.start()
x = torch.empty(250_000_000, dtype=torch.uint8, device="cuda:0")
peaks = meter.stop()
try:
    y = torch.empty(2_000_000_000, dtype=torch.uint8, device="cuda:0")
except Exception as error:
    found = dataclasses.asdict(out_of_memory(error))
print(json.dumps([sentence, peaks, found]))
"""
    sentence, peaks, found = in_a_process(code)
    assert "allocator limited" in sentence
    assert found["code"] == "cuda_allocator"
    assert found["requested_mb"] == pytest.approx(2000, rel=0.01)
    assert found["free_mb"] < 2000
    assert 250 <= peaks["peak_allocated_mb"] <= peaks["peak_reserved_mb"] < 300
    if "peak_device_mb" in peaks:
        assert peaks["peak_device_mb"] > peaks["peak_reserved_mb"]
