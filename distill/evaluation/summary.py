"""What an evaluation's pairs come to: a table with one row for each model."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from distill.cascades import architecture
from distill.evaluation.candidates import Candidate
from distill.evaluation.measure import RANDOM, Evaluation, Row
from distill.evaluation.ratios import paired_ratio
from distill.header import project_version
from distill.networks import ALIGNMENT

RESAMPLES = 4999
FP16_BYTES = 2
RECONSTRUCTION = tuple(f"reconstruction_psnr_relu{stage}_1" for stage in (5, 4, 3, 2, 1))
LOSSES = ("content_loss", "style_loss")
KEPT = "content_kept"
TO_TEACHER = ("lpips_teacher", "psnr_teacher")
STYLE_LAYERS = tuple(f"style_loss_relu{stage}_1" for stage in range(1, 6))
"""Means over pairs of the style loss's parts."""
RATIO = "_geometric_ratio"
"""What the columns of geometric means of ratios end in."""
_IDENTITY = ("model", "group", "method", "family", "ratio", "compressor", "seed", "steps", "data")
_SETTINGS = ("weights", "teacher", "version", "device", "network", "size_px")
_COST = ("parameters", "storage_bytes", "fp16_bytes", "gflops")
COLUMNS = (
    *(*_IDENTITY, *_SETTINGS, *_COST, "photographs", "pairs"),
    *(
        f"{key}{part}"
        for key in (*RECONSTRUCTION, KEPT, *LOSSES, *TO_TEACHER)
        for part in ("", "_std", "_low", "_high")
    ),
    *STYLE_LAYERS,
    *(f"{key}{RATIO}{part}" for key in LOSSES for part in ("", "_low", "_high")),
    *(f"{key}_ratio{part}" for key in LOSSES for part in ("", "_low", "_high")),
    "absent",
)
"""Of ``evaluate.csv``."""
Values = npt.NDArray[np.float64]


def pair_table(found: Evaluation) -> pd.DataFrame:
    """``pairs.csv``: one row for each model and pair."""
    return pd.DataFrame(found.rows)


def model_table(found: Evaluation) -> pd.DataFrame:
    """``evaluate.csv``: one row for each model, in the order they were named.

    A quantity's column has its mean over pairs (reconstruction: photographs); ``_std`` is the
    standard deviation, ``_low`` and ``_high`` the 95 % bootstrap interval of the mean over them.
    ``content_loss_geometric_ratio`` and ``style_loss_geometric_ratio`` are geometric means of the
    pairs' ratios, model over teacher (:mod:`distill.evaluation.ratios`); beside them stand ratios
    of means, ``content_loss_ratio`` and ``style_loss_ratio``. Empty is what could not be had;
    ``absent`` says why.
    """
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in found.rows:
        by_model[row["model"]].append(row)
    groups = replicate_groups(found.models)
    rows = []
    for model in found.models:
        teacher = found.teachers.get(model.kind, "")
        rows.append(
            {
                **_identity(model, groups[model.name], found),
                "teacher": teacher,
                **_cost(model, found.settings.size),
                **_quality(by_model[model.name], by_model[teacher], found),
                "absent": _absent(model, by_model[model.name], found),
            }
        )
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return table.astype({"steps": "Int64", "storage_bytes": "Int64"})


def replicate_groups(models: Sequence[Candidate]) -> dict[str, str]:
    """From each model's name to that of its group: models that differ in their seed alone.

    Budget, rate, batch, crops, data, teacher and loss weights are the same in a group, as far as
    headers tell. Where two of one ratio and compressor have the same seed, or none is known, they
    differ in something else: each stands alone, under its own name.
    """
    alike: dict[tuple[str, str], list[Candidate]] = defaultdict(list)
    for model in models:
        label = f"{model.kind}-{model.spec.ratio}x {model.compressor or 'random'}"
        alike[label, model.training].append(model)
    shared = Counter(label for label, _ in alike)
    names: dict[str, str] = {}
    for (label, _), members in alike.items():
        # One compressor in two budgets: the groups are told apart by their first members.
        group = label if shared[label] == 1 else f"{label} ({members[0].name})"
        seeds = [member.seed for member in members]
        replicates = len(members) == 1 or (all(seeds) and len(set(seeds)) == len(seeds))
        names |= {member.name: group if replicates else member.name for member in members}
    return names


def mean_interval(values: Values, *, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of a mean; NaNs for fewer than two values.

    Args:
        values: (n,), of pairs or photographs that count as independent.
        seed: of the resampling.
    """
    return _bootstrap((values,), lambda x, axis: np.mean(x, axis), seed)


def ratio_interval(ours: Values, theirs: Values, *, seed: int) -> tuple[float, float]:
    """95 % percentile bootstrap interval of mean(ours) / mean(theirs), resampling pairs.

    Args:
        ours: (n,) values of a model.
        theirs: (n,) values of its teacher on the same pairs.
        seed: of the resampling.
    """

    def ratio(x: Values, y: Values, axis: int) -> Values:
        quotient: Values = np.mean(x, axis) / np.mean(y, axis)
        return quotient

    return _bootstrap((ours, theirs), ratio, seed)


def _bootstrap(data: tuple[Values, ...], statistic: Any, seed: int) -> tuple[float, float]:
    if len(data[0]) < 2:
        return np.nan, np.nan
    interval = stats.bootstrap(
        data,
        statistic,
        n_resamples=RESAMPLES,
        vectorized=True,
        paired=True,
        method="percentile",
        random_state=np.random.default_rng(seed),
    ).confidence_interval
    return float(interval.low), float(interval.high)


def _identity(model: Candidate, group: str, found: Evaluation) -> Row:
    return {
        "model": model.name,
        "group": group,
        "method": model.spec.method,
        "family": model.spec.family,
        "ratio": model.spec.ratio,
        "compressor": model.compressor,
        "seed": model.seed,
        "steps": model.steps,
        "data": model.data,
        "weights": "random" if model.name in found.random else "trained",
        "version": project_version(),
        "device": found.settings.device,
        "network": found.settings.network,
    }


def _cost(model: Candidate, size: int) -> Row:
    cost = architecture(model.spec)
    padded = size + -size % ALIGNMENT
    return {
        "parameters": cost.parameters,
        "storage_bytes": model.storage_bytes,
        "fp16_bytes": FP16_BYTES * cost.parameters,
        "size_px": size,
        "gflops": 2 * cost.macs_per_pixel * padded**2 / 1e9,
    }


def _quality(rows: Sequence[Row], teacher: Sequence[Row], found: Evaluation) -> Row:
    seed = found.settings.seed
    pairs = [row for row in rows if "problem" not in row]
    by_photograph = {row["content"]: row for row in rows}.values()
    values: Row = {"photographs": len(by_photograph), "pairs": len(pairs)}
    for key in RECONSTRUCTION:
        values |= _described(key, list(by_photograph), seed)
    for key in (KEPT, *LOSSES, *TO_TEACHER):
        values |= _described(key, pairs, seed)
    for key in STYLE_LAYERS:
        layer = [row[key] for row in pairs if key in row]
        values[key] = float(np.mean(layer)) if layer else None
    of_teacher = {(r["content"], r["style"]): r for r in teacher if "problem" not in r}
    places = [(row["content"], row["style"]) for row in pairs]
    shared = [
        (row, of_teacher[place])
        for row, place in zip(pairs, places, strict=True)
        if place in of_teacher
    ]
    for key in LOSSES:
        if shared:
            ours, theirs = (np.array([pair[i][key] for pair in shared]) for i in (0, 1))
            low, high = ratio_interval(ours, theirs, seed=seed)
            values[f"{key}_ratio"] = float(ours.mean() / theirs.mean())
            values[f"{key}_ratio_low"], values[f"{key}_ratio_high"] = low, high
    return values | geometric_ratios(pairs, teacher)


def geometric_ratios(rows: Sequence[Row], teacher: Sequence[Row]) -> dict[str, float]:
    """Return the columns of geometric ratios of a model, from its pairs and its teacher's.

    Args:
        rows: of ``pairs.csv``, of the model; those without a loss do not count.
        teacher: likewise, of its teacher.
    """
    theirs = {(row["content"], row["style"]): row for row in teacher}
    found: dict[str, float] = {}
    for key in LOSSES:
        both = [
            (row, other)
            for row in rows
            if (other := theirs.get((row["content"], row["style"]))) and key in row and key in other
        ]
        ratio = paired_ratio(
            [row[key] for row, _ in both],
            [other[key] for _, other in both],
            [row["content"] for row, _ in both],
            [row["style"] for row, _ in both],
        )
        if ratio.pairs:
            ends = {"": ratio.value, "_low": ratio.low, "_high": ratio.high}
            found |= {f"{key}{RATIO}{part}": value for part, value in ends.items()}
    return found


def _described(key: str, rows: Sequence[Row], seed: int) -> Row:
    found = np.array([row[key] for row in rows if key in row], dtype=np.float64)
    if not len(found):
        return {}
    if not np.isfinite(found).all():  # equal pictures have a PSNR without limit
        return {key: float(found.mean())}
    low, high = mean_interval(found, seed=seed)
    spread = float(found.std(ddof=1)) if len(found) > 1 else np.nan
    return {
        key: float(found.mean()),
        f"{key}_std": spread,
        f"{key}_low": low,
        f"{key}_high": high,
    }


def _absent(model: Candidate, rows: Sequence[Row], found: Evaluation) -> str:
    """Why a row has gaps; empty if it has none."""
    if model.name in found.random:
        return f"no quality: {RANDOM}"
    reasons = []
    teacher = found.teachers.get(model.kind)
    if teacher is None:
        reasons.append(
            f"nothing relative to a teacher: there is no trained {model.kind}-1x among the models"
        )
    elif teacher == model.name:
        reasons.append("no LPIPS and PSNR to the teacher: it is the teacher")
    elif found.lpips_absent:
        reasons.append(f"no LPIPS: {found.lpips_absent}")
    problems = Counter(row["problem"] for row in rows if "problem" in row)
    reasons += [f"{count} pairs left out: {text}" for text, count in problems.items()]
    return "; ".join(reasons)
