"""What the command line and the ini file say about measuring, checked."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from bench.units import parse_fraction, parse_seconds


@dataclass(frozen=True)
class Settings:
    """How to measure and what to compare with."""

    baseline: Path | None
    save: Path | None
    strict: bool
    allow_different_environment: bool
    processes: int
    time_s: float
    """Longest time for the repeats of a callable in one process, in seconds."""
    device: str
    """``cpu``, ``cuda``, ``cuda:N``, or ``auto``: the first GPU if there is one."""


def settings_of(config: pytest.Config) -> Settings:
    """Raises ``pytest.UsageError`` for what cannot be meant."""
    folder = config.invocation_params.dir
    paths = [config.getoption(f"performance_{name}") for name in ("baseline", "save")]
    baseline, save = (folder / path if path else None for path in paths)
    where, text = given(config, "time")
    try:
        time_s = parse_seconds(text)
    except ValueError as error:
        raise pytest.UsageError(f"{where}: {error}") from None
    where, text = given(config, "processes")
    if not text.isdecimal() or not int(text):
        raise pytest.UsageError(f"{where}: a number of processes is 1 or more; got {text!r}")
    return Settings(
        baseline=baseline,
        save=save,
        strict=bool(config.getoption("performance_strict") or config.getini("performance_strict")),
        allow_different_environment=bool(
            config.getoption("performance_allow_different_environment")
        ),
        processes=int(text),
        time_s=time_s,
        device=given(config, "device")[1],
    )


def given(config: pytest.Config, name: str) -> tuple[str, str]:
    """Where a setting stands, and its text: on the command line, else in the ini file."""
    option = config.getoption(f"performance_{name}")
    if option is not None:
        return f"--performance-{name.replace('_', '-')}", str(option)
    return f"performance_{name} (ini file)", str(config.getini(f"performance_{name}"))


_LIMITS = ("max_slowdown", "max_memory_growth")


def limits_of(node: pytest.Item, **arguments: str | float | None) -> dict[str, float]:
    """Limits as shares, ``slowdown`` and ``memory_growth``.

    Of the call, else of the nearest marker, else of the session. Raises ``ValueError`` for what is
    no share.
    """
    found: dict[str, float] = {}
    for name in _LIMITS:
        where, value = name, arguments[name]
        if value is None:
            where, value = _of_marker(node, name)
        if value is None:
            where, value = given(node.config, name)
        try:
            found[name.removeprefix("max_")] = parse_fraction(_number(value))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from None
    return found


def _number(value: str | float | None) -> str | float | None:
    """An ini file has text only."""
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value


def _of_marker(node: pytest.Item, name: str) -> tuple[str, str | float | None]:
    for marker in node.iter_markers("performance"):
        unknown = [str(key) for key in marker.kwargs if key not in _LIMITS]
        if unknown or marker.args:
            raise ValueError(
                f"mark.performance has {', '.join([*unknown, *map(repr, marker.args)])}; "
                f"allowed are {' and '.join(f'{limit}=...' for limit in _LIMITS)}"
            )
        if name in marker.kwargs:
            return f"mark.performance: {name}", marker.kwargs[name]
    return name, None
