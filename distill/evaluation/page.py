"""An evaluation as a page of Markdown: tables, and what every number means."""

from collections.abc import Callable, Sequence
from typing import Any

import pandas as pd
from tabulate import tabulate

from distill.content_kept import KEPT
from distill.evaluation.candidates import Candidate
from distill.evaluation.measure import Evaluation
from distill.evaluation.summary import RATIO, STYLE_LAYERS
from distill.models import short_names
from distill.training.data import ImageSet

DASH = "–"
SEEDED = {
    "reconstruction_psnr_relu4_1": "reconstruction at relu4_1 (dB)",
    f"content_loss{RATIO}": "content loss / teacher's",
    f"style_loss{RATIO}": "style loss / teacher's",
    "lpips_teacher": "LPIPS to teacher",
}
"""What replicates are compared by."""
RATIO_DEFINITION = """\
- Loss / teacher's: of each pair the loss over the teacher's, and of these the geometric mean. Of \
means: the mean over the pairs, divided by the teacher's mean over the same pairs, which the few \
pairs with large losses rule."""
INTERVAL_DEFINITION = """\
- Intervals of losses over the teacher's: 95 %, Student's t on logarithms, with photographs and \
styles as clusters, since pairs share both; with as many degrees of freedom as the rarer of the \
two less one. Other intervals: 95 % percentile bootstrap, resampling pairs as if they were \
independent. None says anything about other seeds or other photographs' domains."""
Row = dict[str, Any]


def evaluation_page(
    found: Evaluation, table: pd.DataFrame, content: ImageSet, style: ImageSet
) -> str:
    """``evaluate.md``, from an evaluation and its :func:`evaluation.summary.model_table`."""
    plain = table.astype(object).where(table.notna(), None)
    rows = [dict(zip(plain.columns, values, strict=True)) for values in plain.to_numpy()]
    names = short_names([row["model"] for row in rows])
    measured = [row for row in rows if row.get("content_loss") is not None]
    parts = ["# Evaluation", _setting(found, content, style), "## Cost", _cost(rows, names)]
    if measured:
        parts += ["## Reconstruction", _reconstruction(measured, names)]
        parts += ["## Stylised pictures", stylised(measured, names)]
        parts += ["## Style loss by layer", style_by_layer(measured, names)]
    if seeded := over_seeds(rows):
        parts += ["## Over seeds", seeded]
    if cautions := _cautions(found, rows, names, (content, style)):
        parts += ["## Read with care", "\n".join(f"- {line}" for line in cautions)]
    parts += ["## Definitions", _definitions(found)]
    return "\n\n".join(parts) + "\n"


def _setting(found: Evaluation, content: ImageSet, style: ImageSet) -> str:
    pairs = len({(row["content"], row["style"]) for row in found.rows})
    used = len({row["content"] for row in found.rows}), len({row["style"] for row in found.rows})
    settings = found.settings
    if not pairs:
        return "No model has trained weights: only costs are known."
    return (
        f"{pairs} pairs of {used[0]} photographs and {used[1]} styles, drawn with seed "
        f"{settings.seed} from {len(content)} photographs (digest `{content.digest()}`) and "
        f"{len(style)} styles (digest `{style.digest()}`), {settings.size}x{settings.size} px, "
        f"float32 on {settings.device}. Every value is in `evaluate.csv`, every pair in "
        "`pairs.csv`; `bench report FOLDER` draws quality against ratio from the former."
    )


def _cost(rows: Sequence[Row], names: dict[str, str]) -> str:
    size = rows[0]["size_px"]
    return _table(
        rows,
        {
            "model": lambda r: names[r["model"]],
            "compressor": lambda r: r["compressor"] or DASH,
            "seed": lambda r: r["seed"] or DASH,
            "steps": lambda r: _whole(r["steps"]),
            "weights": lambda r: r["weights"],
            "parameters": lambda r: _whole(r["parameters"]),
            "files (MB)": lambda r: _number(r["storage_bytes"], 1e-6),
            "in fp16 (MB)": lambda r: _number(r["fp16_bytes"], 1e-6),
            f"GFLOPs at {size}x{size}": lambda r: _number(r["gflops"]),
        },
    )


def _reconstruction(rows: Sequence[Row], names: dict[str, str]) -> str:
    stages = [k for k in range(1, 6) if any(r.get(_stage(k)) is not None for r in rows)]
    columns: dict[str, Callable[[Row], str]] = {
        "model": lambda r: names[r["model"]],
        "compressor": lambda r: r["compressor"],
        "seed": lambda r: r["seed"] or DASH,
    }
    for stage in stages:
        columns[f"relu{stage}_1 (dB)"] = _spread_of(_stage(stage))
    columns["n"] = lambda r: str(r["photographs"])
    return (
        _table(rows, columns)
        + "\n\nPSNR of decoder(encoder(x)): mean and standard deviation over n photographs."
    )


def _spread_of(key: str) -> Callable[[Row], str]:
    return lambda row: _plus_minus(row.get(key), row.get(f"{key}_std"))


def _text_of(key: str) -> Callable[[Row], str]:
    return lambda row: str(row[key])


def _stage(stage: int) -> str:
    return f"reconstruction_psnr_relu{stage}_1"


def stylised(rows: Sequence[Row], names: dict[str, str]) -> str:
    """Return the table of losses and distances to the teacher, with a note.

    Args:
        rows: of ``evaluate.csv``, None for what is absent.
        names: how models are shown.
    """

    def interval(key: str) -> Callable[[Row], str]:
        return lambda r: _interval(r.get(key), r.get(f"{key}_low"), r.get(f"{key}_high"))

    return _table(
        rows,
        {
            "model": lambda r: names[r["model"]],
            "compressor": lambda r: r["compressor"],
            "seed": lambda r: r["seed"] or DASH,
            "content kept": lambda r: _kept(r.get("content_kept")),
            "content loss": lambda r: _number(r["content_loss"]),
            "content / teacher's": interval(f"content_loss{RATIO}"),
            "content, of means": lambda r: _number(r.get("content_loss_ratio")),
            "style loss": lambda r: _number(r["style_loss"]),
            "style / teacher's": interval(f"style_loss{RATIO}"),
            "style, of means": lambda r: _number(r.get("style_loss_ratio")),
            "LPIPS to teacher": interval("lpips_teacher"),
            "PSNR to teacher (dB)": interval("psnr_teacher"),
            "n": lambda r: str(r["pairs"]),
        },
    ) + (
        "\n\nLosses, LPIPS and PSNR are means over n pairs; losses over the teacher's are "
        "geometric means of the pairs' ratios, and beside them stand ratios of means. In "
        "brackets 95 % intervals. Content kept is the likeness of the picture's layout to its "
        f"content's, 1 at most; below {KEPT} the subject can no longer be named (**lost**)."
    )


def _kept(value: float | None) -> str:
    return DASH if value is None else f"{value:.2f}" + (" **lost**" if value < KEPT else "")


def style_by_layer(rows: Sequence[Row], names: dict[str, str]) -> str:
    """The Gram distance at each layer: how far down the style reaches."""
    columns: dict[str, Callable[[Row], str]] = {
        "model": lambda r: names[r["model"]],
        "compressor": lambda r: r["compressor"],
        "seed": lambda r: r["seed"] or DASH,
    }

    def mean_of(key: str) -> Callable[[Row], str]:
        return lambda r: _number(r.get(key))

    columns |= {key.removeprefix("style_loss_"): mean_of(key) for key in STYLE_LAYERS}
    return _table(rows, columns) + (
        "\n\nMean squared difference of Gram matrices, over the pairs; their sum is the style loss."
    )


def over_seeds(rows: Sequence[Row]) -> str:
    """Return the table of models that differ in their seed alone; empty without any.

    Args:
        rows: of ``evaluate.csv``, None for what is absent.
    """
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["group"], []).append(row)
    replicated = {name: members for name, members in groups.items() if len(members) > 1}
    if not replicated:
        return ""
    lines = []
    for name, members in replicated.items():
        line: Row = {"name": name, "seeds": ", ".join(member["seed"] for member in members)}
        for key in SEEDED:
            values = [member[key] for member in members if member.get(key) is not None]
            series = pd.Series(values, dtype=float)
            line[key] = _plus_minus(series.mean(), series.std()) if values else DASH
        lines.append(line)
    headings = {"name": "models", "seeds": "seeds", **SEEDED}
    columns = {heading: _text_of(key) for key, heading in headings.items()}
    return (
        _table(lines, columns)
        + "\n\nMean and standard deviation over models that differ in their seed alone."
    )


def _cautions(
    found: Evaluation, rows: Sequence[Row], names: dict[str, str], images: Sequence[ImageSet]
) -> list[str]:
    lines = [f"{names[row['model']]}: {row['absent']}." for row in rows if row["absent"]]
    if found.stopped:
        lines.append(f"This evaluation {found.stopped}.")
    if found.enlarged:
        lines.append(
            f"Images used that are smaller than {found.settings.size} px, and so were enlarged: "
            f"{found.enlarged}."
        )
    students = [model for model in found.models if model.compressor not in ("", "teacher")]
    lines += _unequal(students)
    for role, digest in zip(
        ("photographs", "styles"), (one.digest() for one in images), strict=True
    ):
        if seen := [names[model.name] for model in found.models if digest in model.data]:
            lines.append(f"These {role} are what {', '.join(seen)} was trained on: not held out.")
    return lines


def _unequal(students: Sequence[Candidate]) -> list[str]:
    """Sentences on students of one ratio that had unequal chances."""
    lines = []
    for key in dict.fromkeys((one.kind, one.spec.ratio) for one in students):
        alike = [one for one in students if (one.kind, one.spec.ratio) == key]
        steps: dict[str, set[str]] = {}
        for one in alike:
            steps.setdefault(one.compressor, set()).add(_whole(one.steps))
        if len(set().union(*steps.values())) > 1:
            each = ", ".join(f"{name} {' and '.join(sorted(n))}" for name, n in steps.items())
            lines.append(f"{key[0]}-{key[1]}x: unequal training steps: {each}.")
        if len({one.data for one in alike}) > 1:
            lines.append(f"{key[0]}-{key[1]}x: not all were trained on the same data.")
    return lines


def _definitions(found: Evaluation) -> str:
    size, network = found.settings.size, found.settings.network
    copy = found.lpips_backbone.startswith("embedded")
    alexnet = f"AlexNet ({found.lpips_backbone})" if copy else "AlexNet"
    return f"""\
- Images: resized (Lanczos) so that the shorter side is {size} px, cropped at the centre; RGB in \
0..1.
- Output: the whole cascade, alpha 1, float32, clamped to 0..1.
- Parameters: encoders and decoders of all stages, without the embedding layers of training. \
Files: size of the weights files as they are (embedding layers included); in fp16: 2 bytes a \
parameter.
- GFLOPs: 2 x the multiply-accumulates of all 3x3 convolutions of the cascade on one content image \
of {size}x{size} px, in 10^9; encoding the style is not included.
- PSNR: 10 log10(1 / MSE) in dB, over RGB in 0..1; a mean of several is a mean of decibels.
- Content loss: mean squared difference of the features at relu4_1 of output and photograph, on \
{network}.
- Style loss: mean squared difference of the Gram matrices (normalised by C*H*W) of output and \
style, summed over relu1_1 to relu5_1, on {network}.
{RATIO_DEFINITION}
- LPIPS to teacher: version 0.1, {alexnet}, between a model's output and its teacher's on the \
same pair; 0 is the same picture.
{INTERVAL_DEFINITION}"""


def _table(rows: Sequence[Row], columns: dict[str, Callable[[Row], str]]) -> str:
    cells = [[text(row).replace("|", "\\|") for text in columns.values()] for row in rows]
    words = ("model", "models", "compressor", "weights", "seeds")
    align = ["left" if heading in words else "right" for heading in columns]
    return tabulate(cells, list(columns), tablefmt="pipe", disable_numparse=True, colalign=align)


def _number(value: float | None, scale: float = 1.0) -> str:
    if value is None:
        return DASH
    scaled = value * scale
    return f"{scaled:,.0f}" if abs(scaled) >= 1000 else f"{scaled:.3g}"


def _whole(value: float | None) -> str:
    return DASH if value is None else f"{int(value):,}"


def _plus_minus(value: float | None, spread: float | None) -> str:
    if value is None:
        return DASH
    if spread is None or pd.isna(spread):
        return f"{value:.4g}"
    return f"{value:.4g} ± {spread:.2g}"


def _interval(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return DASH
    if low is None or high is None or low == high:
        return f"{value:.3g}"
    return f"{value:.3g} [{low:.3g}, {high:.3g}]"
