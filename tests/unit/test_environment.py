import json
import os
import subprocess
from types import SimpleNamespace

import pynvml
import pytest
import torch

from bench.errors import EnvironmentUnfitError, UserError
from bench.measure import code_version as code
from bench.measure import devices, nvml
from bench.measure.card_memory import used_before_cuda
from bench.measure.code_version import code_version
from bench.measure.cuda_driver import ask_driver
from bench.measure.devices import gpus, resolve_device
from bench.measure.environment import collect_environment
from bench.measure.environment_differences import environment_differences
from distill import host
from distill.sources import digest_of
from tests.unit.nvml_data import ERRORS


class FakeNvml:
    """NVML with cards of the given names; their UUIDs are GPU-aaa0, GPU-bbb1, GPU-ccc2."""

    NVMLError = pynvml.NVMLError
    NVML_CLOCK_SM = pynvml.NVML_CLOCK_SM
    NVML_CLOCK_MEM = pynvml.NVML_CLOCK_MEM

    def __init__(self, *names, unsupported=()):
        self.names = names
        self.unsupported = unsupported
        self.open = 0

    def __getattribute__(self, name):
        if name in object.__getattribute__(self, "unsupported"):
            return object.__getattribute__(self, "_refuse")
        return object.__getattribute__(self, name)

    def _refuse(self, *arguments):
        raise pynvml.NVMLError(pynvml.NVML_ERROR_NOT_SUPPORTED)

    def nvmlInit(self):  # noqa: N802
        if not self.names:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)
        self.open += 1

    def nvmlShutdown(self):  # noqa: N802
        self.open -= 1

    def nvmlDeviceGetCount(self):  # noqa: N802
        return len(self.names)

    def nvmlDeviceGetHandleByIndex(self, index):  # noqa: N802
        return index

    def nvmlDeviceGetHandleByUUID(self, uuid):  # noqa: N802
        return self._refuse()

    def nvmlDeviceGetUUID(self, handle):  # noqa: N802
        return f"GPU-{'abc'[handle] * 3}{handle}"

    def nvmlDeviceGetName(self, handle):  # noqa: N802
        return self.names[handle]

    def nvmlDeviceGetMemoryInfo(self, handle):  # noqa: N802
        return SimpleNamespace(total=12 * 10**9, used=10**9, free=11 * 10**9)

    def nvmlSystemGetDriverVersion(self):  # noqa: N802
        return "570.10"

    def nvmlDeviceGetCudaComputeCapability(self, handle):  # noqa: N802
        return (9, 0)

    def nvmlDeviceGetClockInfo(self, handle, kind):  # noqa: N802
        return {self.NVML_CLOCK_SM: 1200, self.NVML_CLOCK_MEM: 2600}[kind]

    def nvmlDeviceGetMaxClockInfo(self, handle, kind):  # noqa: N802
        return {self.NVML_CLOCK_SM: 1980, self.NVML_CLOCK_MEM: 3201}[kind]

    def nvmlDeviceGetEnforcedPowerLimit(self, handle):  # noqa: N802
        return 700_000

    def nvmlDeviceGetPersistenceMode(self, handle):  # noqa: N802
        return 1

    def nvmlDeviceGetEccMode(self, handle):  # noqa: N802
        return [1, 1]

    def nvmlDeviceGetComputeRunningProcesses(self, handle):  # noqa: N802
        return [SimpleNamespace(pid=-5, usedGpuMemory=10**6)]


@pytest.fixture
def cards(monkeypatch):
    """Puts cards into the machine."""

    def put(*names, **options):
        fake = FakeNvml(*names, **options)
        monkeypatch.setattr(nvml, "pynvml", fake)
        monkeypatch.setattr(devices, "cards_of_driver", list)
        monkeypatch.setattr(torch.version, "cuda", "13.0")
        monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)
        return fake

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return put


def test_without_a_driver_there_are_no_gpus_and_auto_is_the_cpu(cards):
    cards()
    assert gpus() == []
    assert resolve_device("auto") == "cpu"


class Driver:
    """libcuda with one card; ``broken`` functions return an error."""

    def __init__(self, *broken):
        self.broken = broken

    def __getattribute__(self, name):
        if name in object.__getattribute__(self, "broken"):
            return lambda *_: 999
        return object.__getattribute__(self, name)

    def cuInit(self, flags):  # noqa: N802
        return 0

    def cuDeviceGetCount(self, count):  # noqa: N802
        count._obj.value = 1
        return 0

    def cuDeviceGet(self, device, index):  # noqa: N802
        device._obj.value = index
        return 0

    def cuDeviceGetName(self, name, length, device):  # noqa: N802
        name.value = b"Card A"
        return 0

    def cuDeviceTotalMem_v2(self, memory, device):  # noqa: N802
        memory._obj.value = 12 * 10**9
        return 0

    def cuDeviceGetUuid(self, uuid, device):  # noqa: N802
        uuid._obj[:] = range(16)
        return 0


def test_the_driver_names_its_cards_as_nvml_does():
    uuid = "GPU-00010203-0405-0607-0809-0a0b0c0d0e0f"
    assert ask_driver(Driver()) == [(uuid, "Card A", 12_000.0)]
    assert ask_driver(Driver("cuDeviceGetUuid")) == [("", "unknown GPU", 0.0)]
    for broken in ("cuInit", "cuDeviceGetCount", "cuDeviceGet"):
        assert ask_driver(Driver(broken)) == []


def test_cards_are_found_where_nvml_is_not(cards, monkeypatch):
    cards()
    monkeypatch.setattr(devices, "cards_of_driver", lambda: ask_driver(Driver()))
    assert resolve_device("auto") == "cuda:0"
    assert [gpu.name for gpu in gpus()] == ["Card A"]
    with pytest.raises(EnvironmentUnfitError, match=r"there is cuda:0 \(Card A\)"):
        resolve_device("cuda:1")


@pytest.mark.parametrize("error", sorted(ERRORS))
def test_a_card_that_is_lost_or_forbidden_hides_no_other(cards, monkeypatch, error):
    fake = cards("Card A", "Card B")

    def handle(index):
        if index == 1:
            raise pynvml.NVMLError(ERRORS[error])
        return index

    monkeypatch.setattr(fake, "nvmlDeviceGetHandleByIndex", handle)
    assert [gpu.name for gpu in gpus()] == ["Card A"]
    assert resolve_device("auto") == "cuda:0"
    assert collect_environment("cuda:0")["gpu"] == "Card A"
    assert list(used_before_cuda().values()) != [None]


def test_an_nvml_that_cannot_count_leaves_the_cpu(cards):
    cards("Card A", unsupported=("nvmlDeviceGetCount",))
    assert resolve_device("auto") == "cpu"
    assert used_before_cuda() == {}


def test_auto_is_the_first_gpu(cards):
    cards("Card A", "Card B")
    assert resolve_device("auto") == "cuda:0"
    assert resolve_device("cuda") == "cuda:0"
    assert resolve_device("cuda:1") == "cuda:1"
    assert resolve_device("cpu") == "cpu"


def test_auto_is_the_cpu_when_pytorch_has_no_cuda(cards, monkeypatch):
    cards("Card A")
    monkeypatch.setattr(torch.version, "cuda", None)
    assert resolve_device("auto") == "cpu"
    with pytest.raises(EnvironmentUnfitError, match="built without CUDA"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    ("visible", "names"),
    [
        (None, ["Card A", "Card B", "Card C"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("2,0", ["Card C", "Card A"]),
        ("1,7,0", ["Card B"]),
        ("0,0", []),
        ("GPU-bbb1", ["Card B"]),
        ("GPU-c,GPU-aaa0", ["Card C", "Card A"]),
        ("GPU-", []),
        ("GPU-zzz,GPU-aaa0", []),
        ("MIG-gone", []),
    ],
)
def test_visible_devices_follow_cudas_rules(cards, monkeypatch, visible, names):
    fake = cards("Card A", "Card B", "Card C")
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    present = gpus()
    assert [gpu.name for gpu in present] == names
    assert [gpu.index for gpu in present] == list(range(len(names)))
    assert fake.open == 0


def test_a_gpu_that_is_not_there_is_named_with_what_is(cards, monkeypatch):
    cards("Card A", "Card B")
    with pytest.raises(EnvironmentUnfitError) as caught:
        resolve_device("cuda:2")
    assert caught.value.exit_code == 4
    assert "cuda:0 (Card A), cuda:1 (Card B)" in str(caught.value)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(EnvironmentUnfitError, match="CUDA_VISIBLE_DEVICES='1'"):
        resolve_device("cuda:1")


def test_a_machine_without_gpus_says_so(cards):
    cards()
    with pytest.raises(EnvironmentUnfitError, match="no NVIDIA GPU was found"):
        resolve_device("cuda")


@pytest.mark.parametrize(
    "text", ["gpu", "cuda:", "cuda:-1", "cuda:x", "cuda:²", "CPU", "", "cpu:0"]
)
def test_what_names_no_device_is_wrong_use(cards, text):
    cards("Card A")
    with pytest.raises(UserError) as caught:
        resolve_device(text)
    assert caught.value.exit_code == 2
    assert repr(text) in str(caught.value)


def test_a_near_spelling_is_offered(cards):
    cards("Card A")
    with pytest.raises(UserError, match="did you mean 'cuda'"):
        resolve_device("cudaa")


def test_the_environment_of_a_cpu_run_is_json_without_gpu_facts(cards):
    cards("Card A")
    facts = json.loads(json.dumps(collect_environment("cpu")))
    assert not [key for key in facts if key.startswith("gpu")]
    assert facts["torch"] == torch.__version__
    assert facts["torch_threads"] == torch.get_num_threads()
    assert 1 <= facts["cpu_usable_cores"] <= facts["cpu_logical_cores"]
    assert facts["memory_total_mb"] > facts["memory_available_mb"] > 0
    assert None not in facts.values()


def test_the_environment_of_a_gpu_run_describes_its_card(cards):
    cards("Card A", "Card B")
    facts = json.loads(json.dumps(collect_environment("cuda:1")))
    assert facts["gpu"] == "Card B"
    assert facts["gpu_memory_mb"] == 12_000
    assert facts["gpu_driver"] == "570.10"
    assert facts["gpu_compute_capability"] == "9.0"
    assert (facts["gpu_clock_sm_mhz"], facts["gpu_clock_sm_max_mhz"]) == (1200, 1980)
    assert facts["gpu_power_limit_w"] == 700
    assert facts["gpu_ecc"] is True
    assert facts["gpu_other_processes"] == 1


def test_what_a_card_does_not_support_is_absent(cards):
    cards("Card A", unsupported=("nvmlDeviceGetEccMode", "nvmlDeviceGetEnforcedPowerLimit"))
    facts = collect_environment("cuda:0")
    assert "gpu_ecc" not in facts
    assert "gpu_power_limit_w" not in facts
    assert facts["gpu"] == "Card A"


def test_collecting_leaves_cuda_alone(cards, monkeypatch):
    cards("Card A")
    monkeypatch.setattr(torch.cuda, "init", lambda: pytest.fail("CUDA was initialised"))
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: pytest.fail("CUDA was initialised"))
    monkeypatch.setattr(
        torch._C, "_cuda_getDeviceCount", lambda: pytest.fail("CUDA was asked"), raising=False
    )
    collect_environment("cuda:0")
    assert resolve_device("auto") == "cuda:0"


# ---------------------------------------------------------------------------------------- code


def git(folder, *arguments):
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    done = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments],
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    for folder in ("bench", "docs"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.py").write_text("1\n")
    try:
        git(tmp_path, "init", "-q")
    except FileNotFoundError:
        pytest.skip("git is not installed")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "First", "--no-gpg-sign")
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    monkeypatch.setattr(code, "_package_version", lambda: "1.2.3")
    monkeypatch.setattr(code, "source_digest", lambda: digest_of(tmp_path))
    return tmp_path


def known(folder):
    """What a version says besides the digest of the sources."""
    version, digest = code_version().split("+src.")
    assert digest == digest_of(folder)
    assert code.digest_in(code_version()) == digest
    return version


def test_the_code_version_names_the_commit(checkout):
    assert known(checkout) == f"1.2.3+{git(checkout, 'rev-parse', '--short=10', 'HEAD')}"


def test_modified_source_is_dirty_and_nothing_else_is(checkout):
    (checkout / "docs" / "a.py").write_text("2\n")
    (checkout / "bench" / "untracked.py").write_text("2\n")
    assert not known(checkout).endswith("+dirty")
    assert collect_environment("cpu")["git_dirty"] is False
    (checkout / "bench" / "a.py").write_text("2\n")
    assert known(checkout).endswith("+dirty")
    assert collect_environment("cpu")["git_dirty"] is True


def test_a_checkout_around_the_installed_package_is_not_ours(checkout, monkeypatch):
    inner = checkout / "venv" / "site-packages"
    inner.mkdir(parents=True)
    monkeypatch.setattr(code, "_ROOT", inner)
    assert known(checkout) == "1.2.3"
    assert "git_commit" not in collect_environment("cpu")


def test_without_git_the_version_stands_alone(checkout, monkeypatch):
    monkeypatch.setenv("PATH", str(checkout))
    assert known(checkout) == "1.2.3"
    assert code.git_problem() == "git: cannot be started"


def test_two_states_without_a_commit_are_two_versions(checkout, monkeypatch):
    """As where git is not installed, and of changes that are not committed."""
    versions = set()
    for path in ("", str(checkout)):
        monkeypatch.setenv("PATH", path or os.environ["PATH"])
        for text in ("2", "3"):
            (checkout / "bench" / "a.py").write_text(text)
            versions.add(code_version())
    assert len(versions) == 4
    assert code.digest_in("0.1.0+abcdefabcd+dirty") is None


REFUSAL = """fatal: detected dubious ownership in repository at '/x'
To add an exception for this directory, call:

\tgit config --global --add safe.directory /x
"""


def other_owner(monkeypatch):
    """Have git take every repository for that of another user, as its own tests do."""
    run = subprocess.run

    def start(command, **options):
        options["env"] = options["env"] | {"GIT_TEST_ASSUME_DIFFERENT_OWNER": "1"}
        return run(command, **options)

    monkeypatch.setattr(code.subprocess, "run", start)


def test_a_checkout_of_another_owner_keeps_its_commit(checkout, monkeypatch):
    commit = git(checkout, "rev-parse", "--short=10", "HEAD")
    other_owner(monkeypatch)
    refused = subprocess.run(
        ["git", "-C", str(checkout), "status"], env=dict(os.environ), capture_output=True, text=True
    )
    assert "dubious ownership" in refused.stderr
    assert known(checkout) == f"1.2.3+{commit}"
    assert code.git_problem() is None


def test_what_git_says_where_it_refuses_is_told(checkout, monkeypatch):
    fake = checkout / "bin" / "git"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\ncat >&2 <<'EOF'\n{REFUSAL}EOF\nexit 128\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:/usr/bin:/bin")
    assert known(checkout) == "1.2.3"
    said = "git: fatal: detected dubious ownership in repository at '/x'; "
    said += "'git config --global --add safe.directory /x' allows it"
    assert code.git_problem() == said
    assert collect_environment("cpu")["git_problem"] == said


def test_a_git_hooks_variables_do_not_mislead(checkout, monkeypatch):
    expected = code_version()
    monkeypatch.setenv("GIT_DIR", str(checkout / "nowhere"))
    assert code_version() == expected


def test_a_package_that_is_not_installed_takes_its_version_from_the_project(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "_DISTRIBUTION", "no-such-distribution-anywhere")
    monkeypatch.setattr(code, "_ROOT", tmp_path)
    assert code_version().split("+")[0] == "unknown"
    (tmp_path / "pyproject.toml").write_text('[project]\nversion = "4.5"\n')
    assert code_version().split("+")[0] == "4.5"


# ---------------------------------------------------------------------------------- comparison


@pytest.fixture
def here(cards):
    cards("Card A")
    collected = collect_environment("cuda:0")
    return collected | {"variables": {"OMP_NUM_THREADS": "1"}}  # not those of who runs the tests


def test_an_environment_can_be_compared_with_itself_at_another_time(here):
    later = here | {
        "collected_at": "2031-01-01T00:00:00+00:00",
        "load_average_1min": 99.0,
        "memory_available_mb": 1.0,
        "gpu_clock_sm_mhz": 345,
        "gpu_clock_memory_mhz": 345,
        "gpu_other_processes": 7,
        "device": "cuda:3",
    }
    assert environment_differences(here, later) == []


@pytest.mark.parametrize(
    ("key", "value", "label"),
    [
        ("device", "cpu", "device"),
        ("gpu", "Tesla P100", "GPU"),
        ("gpu_driver", "550", "driver"),
        ("gpu_power_limit_w", 350.0, "power"),
        ("cpu", "Another CPU", "CPU"),
        ("torch", "2.11.0", "PyTorch"),
        ("torch_threads", 77, "threads"),
        ("cuda_runtime", "12.6", "CUDA"),
        ("cudnn", 91000, "cuDNN"),
        ("numpy", "1.26", "numpy"),
        ("code_version", "0.0.1+abc", "code"),
        ("variables", {"OMP_NUM_THREADS": "77"}, "OMP_NUM_THREADS=77"),
        ("variables", {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"}, "none against ATEN"),
        ("cpu_quota_cores", 1.5, "quota"),
        ("memory_limit_mb", 900.0, "limit of memory"),
    ],
)
def test_each_thing_that_changes_the_numbers_is_named_with_both_values(here, key, value, label):
    differences = environment_differences(here, here | {key: value})
    assert len(differences) == 1
    assert label in differences[0]
    if not isinstance(value, dict):
        assert key in ("cpu_quota_cores", "memory_limit_mb") or key in here
    if not isinstance(value, dict) and key in here:
        assert f"{here[key]}".partition(":")[0] in differences[0]
        assert f"against {value}" in differences[0]


def test_a_fact_that_one_side_lacks_is_a_difference(here):
    without = {key: value for key, value in here.items() if key != "cudnn"}
    assert environment_differences(here, without) == [f"cuDNN: {here['cudnn']} against unknown"]


def test_cuda_does_not_matter_when_both_ran_on_the_cpu(cards):
    cards()
    one = collect_environment("cpu")
    assert environment_differences(one, one | {"cuda_runtime": "1.0", "cudnn": 1}) == []


# ------------------------------------------------------------------------ variables and containers


@pytest.mark.parametrize(
    ("name", "recorded"),
    [
        ("ATEN_CPU_CAPABILITY", True),
        ("DNNL_MAX_CPU_ISA", True),
        ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", True),
        ("OMP_WAIT_POLICY", True),
        ("GOMP_SPINCOUNT", True),
        ("KMP_BLOCKTIME", True),
        ("MKL_ENABLE_INSTRUCTIONS", True),
        ("OPENBLAS_CORETYPE", True),
        ("MALLOC_TRIM_THRESHOLD_", True),
        ("GLIBC_TUNABLES", True),
        ("LD_PRELOAD", True),
        ("TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", True),
        ("TORCHINDUCTOR_FREEZING", True),
        ("PYTORCH_NO_CUDA_MEMORY_CACHING", True),
        ("CUDA_LAUNCH_BLOCKING", True),
        ("CUDNN_FRONTEND_ATTN_DP_WORKSPACE_LIMIT", True),
        ("NVIDIA_TF32_OVERRIDE", True),
        # Where something lies, or what an image is called: the same speed.
        ("TORCH_HOME", False),
        ("TORCHINDUCTOR_CACHE_DIR", False),
        ("CUDA_PATH", False),
        ("CUDA_VERSION", False),
        ("CUDA_VISIBLE_DEVICES", False),
        ("PATH", False),
        ("HOME", False),
        ("MY_OMP_TOKEN", False),
        ("XOMP_NUM_THREADS", False),
    ],
)
def test_variables_that_change_speed_are_recorded_by_prefix(monkeypatch, name, recorded):
    monkeypatch.setenv(name, "x")
    assert (collect_environment("cpu")["variables"].get(name) == "x") == recorded


def test_what_an_older_run_did_not_record_is_unknown_and_not_different(cards):
    cards()
    here = collect_environment("cpu")
    new = here | {
        "cpu_quota_cores": 2.0,
        "memory_limit_mb": 900.0,
        "variables": {"OMP_NUM_THREADS": "1", "ATEN_CPU_CAPABILITY": "avx2"},
    }
    old = {key: value for key, value in here.items() if key != "environment_schema"}
    old["variables"] = {"OMP_NUM_THREADS": "1"}
    assert environment_differences(old, new) == []
    assert environment_differences(new, old) == []
    # What it did record counts as ever.
    old["variables"] = {"OMP_NUM_THREADS": "2", "MALLOC_ARENA_MAX": "1"}
    assert environment_differences(old, new) == [
        "environment variables: MALLOC_ARENA_MAX=1, OMP_NUM_THREADS=2 against OMP_NUM_THREADS=1"
    ]
    del old["variables"]
    assert environment_differences(old, new) == []


def test_a_container_is_recorded(cards, monkeypatch, tmp_path):
    cards()
    for path, text in {
        "proc/self/cgroup": "0::/\n",
        "cgroup/memory.max": "2000000000\n",
        "cgroup/memory.current": "0\n",
        "cgroup/cpu.max": "150000 100000\n",
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    outside = collect_environment("cpu")
    monkeypatch.setattr(host, "PROC", tmp_path / "proc")
    monkeypatch.setattr(host, "CGROUPS", tmp_path / "cgroup")
    inside = collect_environment("cpu")
    assert (inside["cpu_quota_cores"], inside["memory_limit_mb"]) == (1.5, 2000.0)
    assert inside["memory_total_mb"] == outside["memory_total_mb"]
    lines = environment_differences(outside, inside)
    assert "none against 1.5" in lines[0]
    assert "none against 2000.0" in lines[1]
