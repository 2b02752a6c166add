"""What a study shows: content-style pairs and what each method made of them, from files."""

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.errors import UserError
from bench.image_specs import expand_images
from bench.run.records import read_records
from bench.study.methods import methods_of
from bench.study.proxy import LOSSES
from distill.suggest import did_you_mean, did_you_mean_path, shown

LOSSES_FILE = "losses.csv"
FEW_PAIRS = 4

_ROLES = ("content", "style")


@dataclass(frozen=True)
class StudyPair:
    """A content-style pair with its results."""

    name: str
    content: Path
    style: Path
    results: Mapping[str, Path]
    """From the method's name to its output."""
    losses: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """From the method's name to ``style_loss`` and ``content_loss``, where they are known."""


@dataclass(frozen=True)
class Material:
    """What can be shown, and what was left out."""

    pairs: tuple[StudyPair, ...]
    """Each with two results or more."""
    notes: tuple[str, ...]
    """One line for each thing a person who plans the study ought to know."""

    @property
    def methods(self) -> tuple[str, ...]:
        """Names of all methods, sorted."""
        return tuple(sorted({name for pair in self.pairs for name in pair.results}))


def material_of_run(run_dir: Path) -> Material:
    """The pictures that the quality cells of a run folder left.

    A method is a model under settings, named by :func:`bench.study.methods.methods_of`. Models with
    random weights are left out.

    Raises:
        UserError: if it is no run folder, or holds no pair with results of two methods.
    """
    from bench.run.store import check_run_folder

    check_run_folder(run_dir)
    notes: list[str] = []
    records = [
        record
        for record in read_records(run_dir, report=notes.append)
        if record.kind == "quality" and record.status == "ok" and record.weights != "random"
    ]
    pairs: dict[tuple[str, str], _Draft] = {}
    for method, record in methods_of(records).items():
        for entry in record.per_pair or []:
            if not all(entry.get(key) for key in ("content", "style", "image")):
                continue
            known = pairs.setdefault((str(entry["content"]), str(entry["style"])), _Draft())
            for role in _ROLES:
                if path := entry.get(f"{role}_image"):
                    known.given.setdefault(role, run_dir / str(path))
            known.results[method] = run_dir / str(entry["image"])
            known.losses[method] = _finite({key: entry.get(key) for key in LOSSES})
    names = _pair_names(list(pairs))
    remedy = "a study needs a scenario with 'quality:' and at least two models with trained weights"
    return _checked(
        {names[pair]: draft for pair, draft in pairs.items()}, run_dir, notes, remedy=remedy
    )


def material_of_folder(folder: Path) -> Material:
    """Pictures laid out by hand: METHOD/PAIR.png, content/PAIR.png and style/PAIR.png.

    Any kind of image file does. ``losses.csv``, if it is there, has the columns method, pair,
    style_loss and content_loss.

    Raises:
        UserError: if the folder is not laid out so, or holds no pair with results of two methods.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder{did_you_mean_path(folder)}")
    absent = [role for role in _ROLES if not (folder / role).is_dir()]
    if absent:
        raise UserError(
            f"{folder}: no folder {' and none '.join(absent)} in it; expected are content/PAIR.png,"
            " style/PAIR.png and METHOD/PAIR.png"
        )
    given = {role: _by_stem(folder / role) for role in _ROLES}
    notes: list[str] = []
    drafts: dict[str, _Draft] = {}
    folders = sorted(path for path in folder.iterdir() if path.is_dir() and path.name[0] != ".")
    methods = [path for path in folders if path.name not in _ROLES]
    for method in methods:
        for pair, path in _by_stem(method).items():
            drafts.setdefault(pair, _Draft()).results[method.name] = path
    for role, files in given.items():
        for pair in files.keys() & drafts.keys():
            drafts[pair].given[role] = files[pair]
    if (folder / LOSSES_FILE).is_file():
        _add_losses(folder / LOSSES_FILE, drafts, [path.name for path in methods])
    remedy = "a study needs METHOD/PAIR.png of at least two methods, of the same PAIR"
    return _checked(drafts, folder, notes, remedy=remedy)


@dataclass
class _Draft:
    given: dict[str, Path] = field(default_factory=dict)
    results: dict[str, Path] = field(default_factory=dict)
    losses: dict[str, dict[str, float]] = field(default_factory=dict)


def _checked(
    drafts: Mapping[str, _Draft], where: Path, notes: Sequence[str], *, remedy: str
) -> Material:
    told = list(notes)
    pairs = []
    every = sorted({method for draft in drafts.values() for method in draft.results})
    for name, draft in drafts.items():
        files = {**draft.given, **draft.results}
        gone = sorted(key for key, path in files.items() if not path.is_file())
        results = {key: path for key, path in draft.results.items() if key not in gone}
        lacking = [role for role in _ROLES if role not in draft.given or role in gone]
        if lacking:
            told.append(f"pair {name} is left out: there is no image of its {lacking[0]}")
        elif len(results) < 2:
            told.append(f"pair {name} is left out: results of two methods are needed")
        else:
            if short := [method for method in every if method not in results]:
                told.append(f"pair {name} has no result of {', '.join(short)}")
            known = {key: value for key, value in draft.losses.items() if key in results}
            given = draft.given
            pairs.append(StudyPair(name, given["content"], given["style"], results, known))
    if not pairs:
        why = f"; {told[-1]}" if told else ""
        raise UserError(
            f"{where}: images of {len(every)} method{'' if len(every) == 1 else 's'}"
            f"{f' ({every[0]})' if len(every) == 1 else ''}, no pair to compare: {remedy}{why}"
        )
    if len(pairs) < FEW_PAIRS:
        told.append(
            f"only {len(pairs)} content-style pair{'' if len(pairs) == 1 else 's'}: raters see the "
            "same pictures again and again, and the answer is about these pictures only "
            "(quality.max_pairs and images set how many a run keeps)"
        )
    return Material(tuple(pairs), tuple(told))


def _pair_names(pairs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    names: dict[tuple[str, str], str] = {}
    for pair in pairs:
        stem = " + ".join(Path(spec.rpartition(":")[2]).stem for spec in pair)
        names[pair] = stem if stem not in names.values() else f"{stem} ({len(names) + 1})"
    return names


def _by_stem(folder: Path) -> dict[str, Path]:
    """The image files of a folder by their names without the ending."""
    try:
        paths = [Path(path) for path in expand_images(str(folder), key=str(folder), base=Path())]
    except UserError:
        return {}
    found: dict[str, Path] = {}
    for path in paths:
        if path.stem in found:
            raise UserError(f"{path}: {found[path.stem].name} is there too; keep one of them")
        found[path.stem] = path
    return found


def _add_losses(path: Path, drafts: Mapping[str, _Draft], methods: Sequence[str]) -> None:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None
    problems = []
    for line, row in enumerate(rows, start=2):
        where = f"{path}:{line}"
        if lacking := [key for key in ("method", "pair", *LOSSES) if row.get(key) is None]:
            raise UserError(f"{where}: no column or value {lacking[0]!r}")
        method, pair = row["method"], row["pair"]
        if method not in methods:
            problems.append(f"{where}: no method {shown(method)}{did_you_mean(method, methods)}")
        elif pair not in drafts:
            problems.append(f"{where}: no pair {shown(pair)}{did_you_mean(pair, drafts)}")
        else:
            losses = {key: _loss(row[key]) for key in LOSSES}
            known = {key: value for key, value in losses.items() if value is not None}
            if len(known) < len(LOSSES):
                given = " and ".join(shown(row[key]) for key in LOSSES)
                problems.append(
                    f"{where}: {' and '.join(LOSSES)} are finite numbers from 0 up; got {given}"
                )
            drafts[pair].losses[method] = known
    if problems:
        raise UserError(*problems)


def _loss(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value >= 0 and math.isfinite(value) else None


def _finite(values: Mapping[str, object]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, int | float) and math.isfinite(value)
    }
