"""The quality of one model: every metric over pairs of content and style images."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

import torch

from bench.cells import Cell
from bench.errors import UserError
from bench.image_tensors import load_tensor, to_uint8
from bench.measure.proc import return_freed_memory
from bench.quality.catalogue import TEACHER, find_metric, is_built_in
from bench.quality.metric import Conditions, Metric, Pair, PictureSet, Values
from bench.quality.teacher import Teacher
from bench.record import SOME_PAIRS, Record
from bench.stylizers import Stylizer
from bench.units import Size
from distill.image_files import write_picture
from distill.pairs import image_pairs

_NOT_ALL = "it is of all pictures as one set, and not all were finished"


class _Metrics:
    """The metrics of an evaluation: those that can be computed, and why the others cannot."""

    def __init__(self, metrics: Iterable[str], conditions: Conditions) -> None:
        self.absent: dict[str, str] = {}
        self.measures: dict[str, Callable[[Any], Values]] = {}
        self.metrics: dict[str, Metric] = {}
        self._seconds = {"load": 0.0, "image": 0.0, "set": 0.0}
        """Of loading networks, and of computing what is of each image and of the set, so far."""
        self._conditions = conditions
        with self.timed("load"):
            for name in metrics:
                try:
                    self.metrics[name] = find_metric(name)
                    self.measures[name] = self.metrics[name].prepare(conditions)
                except UserError as error:
                    self.leave_out(name, error)

    @contextmanager
    def timed(self, part: Literal["load", "image", "set"] = "image") -> Iterator[None]:
        """Adds what the block takes to the seconds of a part."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[part] += time.perf_counter() - began

    @property
    def seconds_fields(self) -> dict[str, float]:
        """What the metrics took so far, as record fields."""
        return {
            "metrics_s": round(sum(self._seconds.values()), 3),
            "metrics_load_s": round(self._seconds["load"], 3),
            "metrics_set_s": round(self._seconds["set"], 3),
        }

    def leave_out(self, name: str, error: UserError) -> None:
        """The metric cannot be had."""
        self.measures.pop(name, None)
        self.absent[name] = str(error)

    def per(self, kind: str) -> list[str]:
        """Those of an ``image`` or of the ``set`` that can be computed."""
        return [name for name in self.measures if self.metrics[name].per == kind]

    def needing_teacher(self) -> list[str]:
        """Those that compare with the teacher's output."""
        return [name for name in self.measures if "teacher" in self.metrics[name].needs]

    def of(self, name: str, given: Pair | PictureSet) -> dict[str, float]:
        """The values of one metric.

        Raises:
            ValueError: for a metric that gives values under a name that is not its own.
        """
        values = dict(self.measures[name](given))
        for key in values:
            if key != name and not key.startswith(f"{name}_"):
                raise ValueError(f"metric {name!r} gives a value {key!r}, which is not its own")
        return values

    def definitions(self, pairs: int) -> dict[str, str]:
        """What was computed, by metric."""
        of = f"{pairs} pair{'s' if pairs != 1 else ''} of content and style"
        over = {
            "image": f"mean over {of}",
            "set": f"over {of} as one set, 8 bits a channel",
        }
        pairing = "both lists taken in turn, each image used evenly"
        return {
            name: f"{metric.describe(self._conditions)}; {over[metric.per]} ({pairing})"
            for name, metric in self.metrics.items()
            if name in self.measures
        }

    @property
    def lpips_backbone(self) -> str | None:
        """Where the AlexNet of LPIPS was found; None where no metric needed it."""
        return self._conditions.lpips_backbone

    def is_field(self, name: str) -> bool:
        """Whether a metric's values have fields of their own in a record."""
        return is_built_in(self.metrics[name])


def evaluate_quality(
    stylizer: Stylizer,
    cell: Cell,
    image_dir: Path,
    *,
    keep: Callable[[dict[str, Any]], object] = lambda _: None,
) -> dict[str, Any]:
    """Stylise the cell's pairs, save the pictures and compute the metrics asked for.

    A pair of which an image cannot be read is left out, and the fields say so.

    Args:
        stylizer: with trained weights.
        cell: of kind ``quality``.
        image_dir: the run folder's ``images``; the teacher's outputs are kept beside it.
        keep: told after each pair what there is by then, should the evaluation not come to its end.

    Returns:
        Fields of :class:`bench.record.Record`: means over the pairs, and ``per_pair``.

    Raises:
        UserError: where not one pair can be read.
    """
    settings = cell.quality
    if settings is None:
        raise ValueError(f"cell {cell.id} has no quality settings")
    content_size = Size(cell.width, cell.height)
    style_size = Size(cell.style_width, cell.style_height)
    pairs = image_pairs(cell.content, cell.style, settings.max_pairs)
    metrics = _Metrics(
        settings.metrics, Conditions(settings, cell.device, content_size, style_size)
    )
    teacher = _teacher(cell, stylizer, metrics, pairs, image_dir.with_name(TEACHER))
    image_dir.mkdir(exist_ok=True)
    per_pair: list[dict[str, Any]] = []
    keys: dict[str, list[str]] = {}
    unreadable: dict[str, None] = {}

    def fields(values: dict[str, Any], absent: dict[str, str]) -> dict[str, Any]:
        return {
            "quality_network": settings.network,
            "lpips_backbone": metrics.lpips_backbone,
            "quality_pairs": len(per_pair),
            "quality_teacher": teacher.model if teacher else None,
            **values,
            **metrics.seconds_fields,
            "quality_definitions": metrics.definitions(len(per_pair)),
            "metrics_absent": absent or None,
            "per_pair": per_pair,
            **_some_pairs(len(per_pair), len(pairs), unreadable),
        }

    for content_spec, style_spec in pairs:
        try:
            content = load_tensor(content_spec, content_size, role="content", device=cell.device)
            style = load_tensor(style_spec, style_size, role="style", device=cell.device)
        except UserError as error:
            unreadable |= dict.fromkeys(error.problems)
            continue
        code = stylizer.encode_style(style)
        output = stylizer.stylize(content, code, cell.alpha).float()
        return_freed_memory()
        names = f"{_file_name(content_spec)}__{_file_name(style_spec)}"
        pictures = {
            "content_image": (f"content-{_file_name(content_spec)}-{content_size}.png", content),
            "style_image": (f"style-{_file_name(style_spec)}-{style_size}.png", style),
            "image": (f"{names}__{cell.id}.png", output),
        }
        for key, (file, picture) in pictures.items():
            # Contents and styles may have come already, in this cell or in another.
            if key == "image" or not (image_dir / file).is_file():
                write_picture(image_dir / file, to_uint8(picture))
        paths = {key: f"{image_dir.name}/{file}" for key, (file, _) in pictures.items()}
        of_teacher = teacher.output((content_spec, style_spec)) if teacher else None
        pair = Pair(output, content, style, of_teacher, style_spec)
        entry: dict[str, Any] = {"content": content_spec, "style": style_spec, **paths}
        # Metrics are always computed in full float32, whatever the model was run in.
        with metrics.timed(), torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            for name in metrics.per("image"):
                try:
                    values = metrics.of(name, pair)
                except UserError as error:
                    metrics.leave_out(name, error)
                    continue
                keys[name] = list(values)
                entry |= values
        per_pair.append(entry)
        # A mean over the pairs before the one that a metric could not do is no mean over pairs.
        for name in keys.keys() & metrics.absent.keys():
            for key in keys.pop(name):
                for one in per_pair:
                    one.pop(key, None)
        if (content_spec, style_spec) != pairs[-1]:
            waiting = dict.fromkeys(metrics.per("set"), _NOT_ALL)
            found = _sorted_fields(metrics, _means(keys, per_pair))
            keep(fields(found, metrics.absent | waiting))
        del content, style, output, pictures, pair, of_teacher
    if not per_pair:
        raise UserError(*unreadable)
    with metrics.timed("set"):
        values = _values(metrics, keys, per_pair, image_dir)
    return fields(values, metrics.absent)


def _some_pairs(done: int, asked: int, unreadable: Iterable[str]) -> dict[str, Any]:
    """What a record says where not every pair was evaluated."""
    if done == asked:
        return {}
    left_out = "".join(f"; left out: {problem}" for problem in unreadable)
    return {"reason_code": SOME_PAIRS, "reason": f"{done} of {asked} pairs{left_out}"}


def _teacher(
    cell: Cell,
    stylizer: Stylizer,
    metrics: _Metrics,
    pairs: list[tuple[str, str]],
    folder: Path,
) -> Teacher | None:
    """The teacher with its outputs computed, if a metric needs it; without it they are left out."""
    wanted = metrics.needing_teacher()
    if not wanted:
        return None
    try:
        teacher = Teacher(cell, stylizer, folder)
        teacher.prepare(pairs)
    except UserError as error:
        for name in wanted:
            metrics.leave_out(name, error)
        return None
    return teacher


def _values(
    metrics: _Metrics,
    keys: dict[str, list[str]],
    per_pair: list[dict[str, Any]],
    image_dir: Path,
) -> dict[str, Any]:
    """Means over the pairs and values of the set, by field; a plug-in's in ``quality_other``."""
    found = _means(keys, per_pair)
    files = {
        key: tuple(image_dir.parent / pair[key] for pair in per_pair)
        for key in ("image", "content_image", "style_image")
    }
    pictures = PictureSet(files["image"], files["content_image"], files["style_image"])
    for name in metrics.per("set"):
        try:
            found[name] = metrics.of(name, pictures)
        except UserError as error:
            metrics.leave_out(name, error)
    return {"quality_notes": pictures.notes or None} | _sorted_fields(metrics, found)


def _means(
    keys: dict[str, list[str]], per_pair: list[dict[str, Any]]
) -> dict[str, dict[str, float]]:
    """Means over the pairs, by metric and the name of the value."""
    return {
        name: {key: fmean(pair[key] for pair in per_pair) for key in keys[name]} for name in keys
    }


def _sorted_fields(metrics: _Metrics, found: dict[str, dict[str, float]]) -> dict[str, Any]:
    """Values by field; those without one of their own in ``quality_other``."""
    fields: dict[str, Any] = {}
    other: dict[str, float] = {}
    for name, values in found.items():
        for key, value in values.items():
            own = metrics.is_field(name) and key in Record.model_fields
            (fields if own else other)[key] = value
    return fields | {"quality_other": other or None}


def _file_name(spec: str) -> str:
    """A short name for an image's file; a digest tells apart files of one name."""
    if spec.startswith("builtin"):
        return spec.rpartition(":")[2]
    digest = hashlib.sha256(spec.encode()).hexdigest()[:6]
    stem = "".join(c if c.isalnum() or c in "-_" else "-" for c in Path(spec).stem)[:40]
    return f"{stem}-{digest}"
