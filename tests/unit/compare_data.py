"""Run folders for comparisons, made of records without measuring."""

import json
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench.record import Record
from bench.run.records import CELLS, record_name, words_for_non_finite
from tests.unit import reports_data

ENVIRONMENT = {
    "device": "cpu",
    "cpu": "Some CPU",
    "cpu_usable_cores": 2,
    "python": "3.12.1",
    "torch": "2.12.0",
    "code_version": "0.1.0+aaaaaaaaaa",
    "variables": {},
}
SCENARIO = {
    "name": "ci",
    "models": ["adain-vgg16-16x"],
    "images": {"content": ["/checkout/photo.jpg"], "style": ["builtin"]},
    "memory_cap": "12GB",
    "style_resolution": "512x512",
    "measure": {"warmup": 2},
}
SIZES = ((256, 256), (512, 512))
START = datetime(2026, 1, 1, tzinfo=UTC)


def latencies(
    base: float, factor: float = 1.0, count: int = 5, spread: float = 0.01
) -> list[float]:
    """Of processes that differ by ``spread``; the same for the same arguments, less the factor."""
    steps = np.random.default_rng([count, int(1000 * base)]).standard_normal(count)
    return [float(base * factor * np.exp(spread * step)) for step in steps]


def performance(
    size: tuple[int, int],
    times_ms: Sequence[float],
    *,
    memory_mb: float = 100.0,
    model: str = "adain-vgg16-16x",
    **fields: Any,
) -> list[dict[str, Any]]:
    """The records of one cell, a process for each time."""
    cell_id = f"{abs(hash((model, size))) % 16**12:012x}"
    made = reports_data.record(model, size)
    return [
        made
        | {
            "id": cell_id,
            "repeat": repeat,
            "status": "ok",
            "latency_ms": time,
            "first_call_ms": 2 * time,
            "latency_samples_ms": [time] * 7,
            "latency_outliers": [],
            "peak_rss_growth_mb": memory_mb,
            "started_at": (START + timedelta(seconds=10 * repeat)).isoformat(),
            "duration_s": 4.0,
        }
        | fields
        for repeat, time in enumerate(times_ms)
    ]


def quality(
    values: dict[str, float | Sequence[float]],
    *,
    definitions: dict[str, str] | None = None,
    **fields: Any,
) -> list[dict[str, Any]]:
    """The record of a quality cell; a sequence of values is one of each pair."""
    pairs = max((len(v) for v in values.values() if isinstance(v, Sequence)), default=2)
    per_pair = [{"content": f"c{n}.jpg", "style": f"s{n}.jpg", "image": "x"} for n in range(pairs)]
    means: dict[str, float] = {}
    for name, value in values.items():
        if isinstance(value, Sequence):
            means[name] = float(np.mean(value))
            for pair, one in zip(per_pair, value, strict=True):
                pair[name] = one  # type: ignore[assignment]
        else:
            means[name] = value
    made = reports_data.record("adain-vgg16-16x", (512, 512), kind="quality")
    known = {name: value for name, value in means.items() if name in Record.model_fields}
    other = {name: value for name, value in means.items() if name not in known}
    return [
        made
        | {
            "id": "0123456789ab",
            "status": "ok",
            "quality_definitions": definitions
            or {name: f"what {name} is" for name in means if not name.endswith(("_low", "_high"))},
            "per_pair": per_pair,
            "quality_other": other or None,
            **known,
        }
        | fields
    ]


def run_folder(
    path: Path,
    records: Iterable[dict[str, Any]],
    *,
    environment: dict[str, Any] | None = None,
    scenario: dict[str, Any] | None = None,
) -> Path:
    """A run folder with these records, of a scenario that asked for no more."""
    records = list(records)
    timed = [one for one in records if one["kind"] == "performance"]
    sizes = dict.fromkeys(f"{one['width']}x{one['height']}" for one in timed)
    asked = SCENARIO | {"resolutions": [*sizes] or ["256x256"]} | (scenario or {})
    (path / CELLS).mkdir(parents=True)
    (path / "environment.json").write_text(json.dumps(ENVIRONMENT | (environment or {})))
    (path / "scenario.yaml").write_text(yaml.safe_dump(asked))
    for fields in records:
        record = Record(**fields)
        # as write_record does, less waiting for the disk
        text = json.dumps(words_for_non_finite(record.model_dump()))
        (path / CELLS / record_name(record.id, record.repeat)).write_text(text)
    return path


def ci_run(
    path: Path,
    *,
    factors: Sequence[float] = (1.0, 1.0),
    count: int = 5,
    change: Callable[[list[dict[str, Any]]], object] = lambda records: None,
    scenario: dict[str, Any] | None = None,
    **options: Any,
) -> Path:
    """A run of two cells, their times multiplied by ``factors``; ``change`` edits the records."""
    both = {"resolutions": [f"{width}x{height}" for width, height in SIZES]}
    records = [
        record
        for size, factor in zip(SIZES, factors, strict=False)
        for record in performance(size, latencies(size[0] / 10, factor, count))
    ]
    change(records)
    return run_folder(path, records, scenario=both | (scenario or {}), **options)


def benchmark_json(
    path: Path, medians_s: dict[str, float], extra: dict[str, Any] | None = None, **fields: Any
) -> Path:
    """A file as pytest-benchmark writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine_info": {"python_version": "3.12.1", "cpu": {"brand_raw": "Some CPU", "count": 2}},
        "commit_info": {"id": "aaaa", "dirty": False},
        "benchmarks": [
            {
                "group": None,
                "name": name.rpartition("::")[2],
                "fullname": name,
                "params": None,
                "extra_info": extra or {},
                "stats": {"min": median, "median": median, "rounds": 5},
            }
            for name, median in medians_s.items()
        ],
        "datetime": "2026-01-01T00:00:00+00:00",
        "version": "5.1.0",
    }
    path.write_text(json.dumps(content | fields))
    return path
