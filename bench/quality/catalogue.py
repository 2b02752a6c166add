"""Which metrics there are: the built-in ones, and those that installed packages register."""

from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from bench.errors import UserError
from bench.quality.built_in import IMAGE_METRICS
from bench.quality.metric import Metric
from bench.quality.set_plugins import SET_METRICS
from distill.models import parse_model
from distill.suggest import did_you_mean

GROUP = "ultrastyle_bench.metrics"
"""Entry-point group of plug-ins; see :mod:`bench.quality.metric`."""
TEACHER = "teacher"
"""Folder of teachers' outputs in a run folder, as long as the run is not done."""


def built_in() -> Mapping[str, Metric]:
    """The project's own metrics by name."""
    return {metric.name: metric for metric in (*IMAGE_METRICS, *SET_METRICS)}


@cache
def _registered() -> Mapping[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=GROUP)}


def metric_names() -> tuple[str, ...]:
    """Every name that a scenario may ask for; no plug-in is loaded."""
    return tuple(dict.fromkeys([*built_in(), *_registered()]))


def find_metric(name: str) -> Metric:
    """The metric of a name.

    Raises:
        UserError: for a name that is not known, and for a plug-in that cannot be loaded, is no
            :class:`Metric` of that name, or takes a built-in one's name.
    """
    point = _registered().get(name)
    if point is None:
        if name not in built_in():
            allowed = ", ".join(metric_names())
            hint = did_you_mean(name, metric_names())
            raise UserError(f"metric {name!r} is not known; there are {allowed}{hint}")
        return built_in()[name]
    whose = f"metric {name!r}, registered as {point.value}"
    if point.dist is not None:
        whose += f" by {point.dist.name}"
    if name in built_in():
        raise UserError(f"{whose}: the name is that of a built-in metric; uninstall the package")
    try:
        found = point.load()
    except Exception as error:
        # Broad with reason: it runs the code of another package.
        raise UserError(f"{whose}: cannot be loaded: {type(error).__name__}: {error}") from error
    if not isinstance(found, Metric) or found.name != name:
        raise UserError(f"{whose}: is no bench.quality.metric.Metric of that name")
    return found


def default_teacher(model: str) -> str | None:
    """The same method and family at ratio 1, with the weights that come with the package.

    None for a model of a kind that has no ratios.
    """
    try:
        return str(parse_model(model)._replace(ratio=1, weights=None))
    except ValueError:
        return None


def may_need_teacher(names: Iterable[str]) -> bool:
    """Whether a metric of these compares with a teacher, or may: plug-ins are not loaded."""
    known = built_in()
    return any(name not in known or "teacher" in known[name].needs for name in names)


def is_built_in(metric: Metric) -> bool:
    """Whether a metric is the project's own."""
    return built_in().get(metric.name) is metric
