"""Finding out what is known of a run before its first cell; all of it needs PyTorch.

See :func:`bench.run.apart.apart`.
"""

from functools import partial

from bench.cells import Cell
from bench.measure.code_version import code_version
from bench.measure.devices import resolve_device
from bench.measure.environment import collect_environment
from bench.prediction.calibration import load_calibration
from bench.run.foresight import Facts, Preparation, foresee
from bench.scenario import Scenario
from bench.stylizers import model_facts


def prepare(scenario: Scenario, device: str) -> Preparation:
    """Find out what a run of a scenario consists of.

    Args:
        scenario: what is to be measured.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.

    Raises:
        UserError: for a device or weights that are not there.
    """
    device = resolve_device(device)
    environment = collect_environment(device)
    cells = scenario.cells(
        device,
        weights_digest=partial(_weights_digest, seed=scenario.seed),
        code_version=code_version(),
    )
    calibration = load_calibration(cells[0], environment)
    return Preparation(
        device,
        environment,
        cells,
        {cell.id: _facts(cell) for cell in cells},
        foresee(cells, calibration, skip=scenario.skip_predicted),
    )


def _weights_digest(model: str, *, seed: int) -> str:
    return model_facts(model, 1, 1, seed=seed).weights_digest


def _facts(cell: Cell) -> Facts:
    facts = model_facts(cell.model, cell.width, cell.height, seed=cell.seed)
    gmacs = facts.macs / 1e9
    return {
        "gmacs": gmacs,
        "gflops": 2 * gmacs,
        "parameters": facts.parameters,
        "weights": facts.weights,
        "weights_digest": facts.weights_digest,
    }
