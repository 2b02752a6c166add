"""Finding out what is known of a run before its first cell; all of it needs PyTorch.

See :func:`bench.run.apart.apart`.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from bench.cells import Cell
from bench.errors import EnvironmentUnfitError, UserError
from bench.image_check import unreadable
from bench.image_specs import Role
from bench.measure.code_version import code_version
from bench.measure.devices import resolve_device
from bench.measure.environment import collect_environment
from bench.prediction.calibration import Calibration, calibrate, load_calibration
from bench.prediction.precisions import lacking, wanted_precisions
from bench.run.foresight import Facts, Preparation, foresee
from bench.scenario import Scenario
from bench.stylizers import model_facts
from distill.pairs import image_pairs

CALIBRATION_SHARE = 0.03
"""Part of a run's time that may go to calibrating: on a machine too busy for that, what is measured
on the way tells the speed as well."""


def prepare(
    scenario: Scenario, device: str, *, report: Callable[[str], object] = lambda _: None
) -> Preparation:
    """Find out what a run of a scenario consists of.

    Args:
        scenario: what is to be measured.
        device: ``auto``, ``cpu`` or ``cuda[:N]``.
        report: told what takes its time, in a line.

    Raises:
        UserError: for a device or weights that are not there, and for images that cannot be read.
    """
    device = resolve_device(device)
    environment = collect_environment(device)
    cells = scenario.cells(
        device,
        weights_digest=partial(_weights_digest, seed=scenario.seed),
        code_version=code_version(),
    )
    if problems := unreadable(_images(cells)):
        raise UserError(*problems)
    calibration = _calibration(scenario, cells, environment, report=report)
    return Preparation(
        device,
        environment,
        cells,
        {cell.id: _facts(cell) for cell in cells},
        foresee(
            cells,
            calibration,
            skip=scenario.skip_predicted,
            capability=environment.get("gpu_compute_capability"),
        ),
    )


def _images(cells: list[Cell]) -> Iterator[tuple[Role, str]]:
    """Role and spec of every image that the cells use."""
    for cell in cells:
        pairs = [(cell.content[0], cell.style[0])]
        if cell.quality is not None:
            pairs = image_pairs(cell.content, cell.style, cell.quality.max_pairs)
        for content, style in pairs:
            yield "content", content
            yield "style", style


def _calibration(
    scenario: Scenario,
    cells: list[Cell],
    environment: Mapping[str, Any],
    *,
    report: Callable[[str], object],
) -> Calibration | None:
    """What is remembered of the device; measured now where a plan must fit a time limit."""
    found = load_calibration(cells[0], environment)
    if not scenario.priority or scenario.run_time_limit is None:
        return found
    device = cells[0].device
    wanted = [one for one in wanted_precisions(cells) if not lacking(device, one)]
    missing = [one for one in wanted if found is None or not found.knows(one)]
    if not missing:
        return found
    report(
        f"calibrating {device} ({', '.join(missing)}), so that the plan fits this machine: some "
        "seconds, once"
    )
    try:
        longest_s = CALIBRATION_SHARE * scenario.run_time_limit
        return calibrate(cells[0], missing, longest_s=longest_s)
    except EnvironmentUnfitError as error:
        report(f"the plan goes by what is measured on the way: {error}")
        return found


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
