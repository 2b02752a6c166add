"""What all tests share: the optional data beside the project, the GPU mark, quiet settings."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# Small networks on small images: threads would wait for each other, on a busy machine long. In the
# environment, so that worker processes have it too, and before anything loads PyTorch.
os.environ["OMP_NUM_THREADS"] = "1"

SHARED = Path(__file__).parents[2] / "shared"

# A slow moment of a busy machine is not a failure, and what passes once passes again: examples are
# drawn from the test's own name. (HYPOTHESIS_PROFILE=default looks further.)
settings.register_profile("suite", deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "suite"))


def pytest_configure() -> None:
    """Signals reach the tests' own processes, in a shell's background job and under nohup too."""
    usual = {"SIGINT": signal.default_int_handler, "SIGHUP": signal.SIG_DFL}
    for name, handler in usual.items():
        number = getattr(signal, name, None)  # not every system has them all
        if number is not None and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


def pytest_xdist_auto_num_workers() -> int | None:
    """One process where there is a GPU, whose memory its tests measure; else one for each core."""
    return 0 if Path("/dev/nvidiactl").exists() else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = lacks(item)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


def lacks(item: pytest.Item) -> str | None:
    """Say what a test needs and this machine has not, if anything."""
    if item.get_closest_marker("gpu"):
        import torch

        if not torch.cuda.is_available():
            return "no CUDA device"
    if marker := item.get_closest_marker("native"):
        from bench.stylizers.cascade import native_on_cpu

        (precision,) = marker.args
        if not native_on_cpu(precision):
            return f"this CPU has no native {precision} convolutions"
    return None


@pytest.fixture(autouse=True)
def seeded() -> None:
    """What a test draws at random is the same in every run."""
    if torch := sys.modules.get("torch"):
        torch.manual_seed(0)


@pytest.fixture(scope="module")
def no_embedded_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Models without a folder have random weights, whatever the package comes with."""
    from distill import embedded

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embedded, "ASSETS", tmp_path_factory.mktemp("assets"))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with weights, images and reference results that may lie beside the project."""
    if not SHARED.is_dir():
        pytest.skip(f"there is no folder {SHARED.name} beside the project")
    return SHARED


@pytest.fixture(scope="session")
def students(shared: Path) -> Path:
    """The paper's published 16x students."""
    return shared / "weights/collaborative-distillation-16x"
