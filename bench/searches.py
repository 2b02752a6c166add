"""The largest image of each of a run's settings, searched for and kept in the run's folder.

    RUN_DIR/ max_resolution.json  max_resolution/NAME-TIMESTAMP/ (a run folder: one record a probe)

Only the answers stand beside the run's cells: a probe is one cold pass at a size that no other run
has, which no figure and no comparison should take for a point of the sweep.
"""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError

from bench.cells import Cell
from bench.errors import EnvironmentUnfitError, UserError
from bench.max_resolution import (
    TOLERANCE,
    Limit,
    Probe,
    evidence,
    find_largest,
    longest_side,
    predicted_side,
    prober,
    size_of_side,
)
from bench.measure.environment import collect_environment
from bench.plan import scenario_cells
from bench.prediction.calibration import load_calibration
from bench.prediction.predict import Predictor
from bench.run.records import write_file
from bench.run.schedule import Measured, deadline_s
from bench.run.store import RunFolder
from bench.scenario import Scenario, load_scenario
from distill.files import read_regular

FILE = "max_resolution.json"
PROBES = "max_resolution"
COLUMN = "largest_searched"
"""Of a table of records: the answer for the settings of a performance cell."""
ASPECT = Fraction(4, 3)
_MAX_MEGAPIXELS = 1000.0
_SCHEMA = 1
_SETTINGS = (
    *("model", "execution", "precision", "device", "memory_cap_mb", "threads"),
    *("style_width", "style_height"),
)


class Search(BaseModel):
    """The answer for one model under one set of settings; MB are 10^6 bytes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str
    execution: str
    precision: str
    device: str
    memory_cap_mb: float
    threads: int | None
    style_width: int
    style_height: int
    width: int | None = None
    """Of the largest image that ran, as ``height`` and ``megapixels``; None without an answer."""
    height: int | None = None
    megapixels: float | None = None
    beyond_megapixels: float | None = None
    """Of the smallest larger image that did not run; None where nothing larger was tried."""
    limit: Limit | None = None
    """What kept that from running: ``memory``, ``time``, ``crash``; or ``bound``."""
    reason: str = ""
    """Why there is no answer."""
    tolerance: float = TOLERANCE
    """Of the pixels."""
    code_version: str
    probes: str = ""
    """Folder of the probes' records, from the run's."""
    evidence: list[dict[str, Any]] = []
    """One entry a probe, smallest image first."""

    @property
    def settings(self) -> tuple[Any, ...]:
        """What tells it from the others of a run."""
        return tuple(getattr(self, name) for name in _SETTINGS)


def check_searchable(scenario: Scenario) -> None:
    """Raise ``UserError`` unless there is a memory cap to search under."""
    if None in scenario.memory_cap:
        raise UserError(
            "--max-resolution: searches under the scenario's memory_cap, and it has none; add "
            "--set memory_cap=12GB or the like"
        )


def search_run(
    folder: RunFolder,
    *,
    report: Callable[[str], object] = lambda _: None,
) -> list[Search]:
    """Search for what a run's folder has no answer for yet; each answer is kept once it is there.

    Of images of 4:3. A setting whose pass is estimated to take longer than a cell may, at the size
    that is predicted to fit, has no answer but that reason.

    Args:
        folder: of a run; its cells were measured on this machine.
        report: told how it goes, in lines for a person.

    Returns:
        All answers, in the order of the scenario.

    Raises:
        UserError: for a run without a memory cap, or with a file of answers that cannot be read.
    """
    scenario = load_scenario(folder.scenario_path, ())
    check_searchable(scenario)
    device = str(folder.environment()["device"])
    environment = collect_environment(device)
    found = {one.settings: one for one in read_searches(folder.path)}
    cells: dict[tuple[Any, ...], Cell] = {}
    for cell in scenario_cells(scenario, device):
        if cell.kind == "performance":
            cells.setdefault(_settings_of(cell), cell)
    wanted = {key: cell for key, cell in cells.items() if key not in found}
    if wanted:
        predictor = Predictor(load_calibration(next(iter(wanted.values())), environment))
        measured = Measured(folder.records())
        with RunFolder.create(folder.path / PROBES, scenario, environment) as probes:
            for key, cell in wanted.items():
                found[key] = _search(cell, predictor, measured, probes, folder, report)
                _write(folder.path, [found[key] for key in cells if key in found])
    return [found[key] for key in cells]


def read_searches(run_dir: Path) -> list[Search]:
    """What was found for a run; nothing where nobody searched.

    Raises:
        UserError: for a file that cannot be read.
    """
    path = run_dir / FILE
    if not path.exists():
        return []
    try:
        content = json.loads(read_regular(path))
        return [Search.model_validate(one) for one in content["searches"]]
    except (OSError, ValueError, ValidationError, KeyError, TypeError) as error:
        text = " ".join(str(error).split())
        raise UserError(
            f"{path}: cannot be read: {text}; remove it, and search again with --max-resolution"
        ) from None


def with_searches(frame: pd.DataFrame, run_dir: Path) -> pd.DataFrame:
    """The records of a run with what was searched for beside them, in the column ``COLUMN``.

    The frame itself where nothing was. Raises ``UserError`` as :func:`read_searches`.
    """
    searches = {one.settings: one for one in read_searches(run_dir)}
    if not searches or frame.empty:
        return frame
    shown = {
        key: {
            name: getattr(one, name)
            for name in ("width", "height", "megapixels", "beyond_megapixels", "limit")
        }
        for key, one in searches.items()
        if one.width is not None
    }
    answers = [
        shown.get(tuple(None if pd.isna(value) else value for value in row[1:]))
        if row[0] == "performance"
        else None
        for row in frame[["kind", *_SETTINGS]].itertuples(index=False)
    ]
    return frame.assign(**{COLUMN: pd.Series(answers, index=frame.index, dtype=object)})


def _search(
    cell: Cell,
    predictor: Predictor,
    measured: Measured,
    probes: RunFolder,
    folder: RunFolder,
    report: Callable[[str], object],
) -> Search:
    assert cell.memory_cap_bytes is not None
    what = f"{cell.model} {cell.execution} {cell.precision}"
    known = {
        **dict(zip(_SETTINGS, _settings_of(cell), strict=True)),
        "code_version": cell.code_version,
    }

    def tell(probe: Probe) -> None:
        report(f"{what} {probe.size} ({probe.size.megapixels:.4g} MP): {probe.status}")

    def none(reason: str) -> Search:
        report(f"{what}: no largest image: {reason}")
        return Search(**known, reason=reason)

    bound = longest_side(ASPECT, _MAX_MEGAPIXELS)
    prediction = predictor.predict(cell)
    if prediction.verdict == "unsupported":
        return none(prediction.reason)
    start = predicted_side(
        cell, predictor, aspect=ASPECT, room_bytes=cell.memory_cap_bytes, bound=bound
    )
    size = size_of_side(max(start, 1), ASPECT)
    limit_s = cell.measure.cell_time_limit_s
    sized = cell.model_copy(update={"width": size.width, "height": size.height})
    estimate = measured.estimate(sized)
    if estimate is not None and estimate.seconds > limit_s:
        return none(
            f"one pass at the {size.megapixels:.3g} MP that are predicted to fit is estimated at "
            f"{estimate.seconds:.0f} s ({estimate.basis}), a cell's limit is {limit_s:.0f} s"
        )
    probe = prober(
        cell,
        predictor,
        probes,
        deadline_s=deadline_s(limit_s),
        report=tell,
    )
    try:
        found = find_largest(probe, aspect=ASPECT, start=start, bound=bound)
    except EnvironmentUnfitError as error:
        return none(str(error))
    beyond = found.beyond
    report(f"{what}: largest that ran: {found.size} ({found.size.megapixels:.4g} MP)")
    return Search(
        **known,
        width=found.size.width,
        height=found.size.height,
        megapixels=found.size.megapixels,
        beyond_megapixels=None if beyond is None else beyond.megapixels,
        limit=found.limit,
        probes=probes.path.relative_to(folder.path).as_posix(),
        evidence=evidence(found.probes),
    )


def _settings_of(cell: Cell) -> tuple[Any, ...]:
    cap = cell.memory_cap_bytes
    values = {**cell.model_dump(), "memory_cap_mb": None if cap is None else cap / 1e6}
    return tuple(values[name] for name in _SETTINGS)


def _write(run_dir: Path, searches: list[Search]) -> None:
    content = {
        "schema_version": _SCHEMA,
        "what": "the largest image under the memory cap, bracketed and bisected by runs in fresh "
        "processes",
        "aspect": f"{ASPECT.numerator}:{ASPECT.denominator}",
        "searches": [one.model_dump(mode="json") for one in searches],
    }
    write_file(run_dir / FILE, (json.dumps(content, indent=1) + "\n").encode())
