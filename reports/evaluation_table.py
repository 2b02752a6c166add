"""The table of `distill evaluate`, read and checked."""

from pathlib import Path

import pandas as pd

from bench.errors import UserError
from distill.evaluation.summary import LOSSES, RATIO, geometric_ratios

PANELS = {
    "reconstruction_psnr_relu4_1": "PSNR of reconstruction (dB)\n(relu4_1, higher is better)",
    f"style_loss{RATIO}": "Style loss / teacher's\n(lower is better)",
    f"content_loss{RATIO}": "Content loss / teacher's\n(lower is better)",
    "lpips_teacher": "LPIPS to teacher's output\n(lower is better)",
}
_NEEDED = ("model", "group", "method", "family", "ratio", "compressor", "weights", "network")
_PARTS = ("", "_low", "_high")
_NUMBERS = ("ratio", "size_px", "photographs", "pairs")


_GEOMETRIC = {f"{key}{RATIO}" for key in LOSSES}
PAIRS = "pairs.csv"


def read_table(path: Path) -> pd.DataFrame:
    """A table of models that `distill evaluate` wrote.

    One without geometric ratios, by an earlier version, gets them from ``pairs.csv`` beside it.

    Raises:
        UserError: for a file that is not there or not such a table.
    """
    try:
        table = pd.read_csv(path, dtype={"seed": str}, keep_default_na=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a table ({error})") from error
    if not _GEOMETRIC & set(table.columns):
        table = _with_ratios(table, path)
    wanted = [*_NEEDED, *_NUMBERS, *(f"{key}{part}" for key in PANELS for part in _PARTS)]
    if missing := [key for key in dict.fromkeys(wanted) if key not in table.columns]:
        raise UserError(
            f"{path}: has no column {', '.join(missing)}; is it by 'distill evaluate' of this "
            "version?"
        )
    for key in (*_NUMBERS, *(f"{key}{part}" for key in PANELS for part in _PARTS)):
        try:
            table[key] = pd.to_numeric(table[key])
        except ValueError as error:
            raise UserError(f"{path}: column {key}: {error}") from error
    return table


def _with_ratios(table: pd.DataFrame, path: Path) -> pd.DataFrame:
    """The table with geometric ratios of every model that has a teacher."""
    pairs_path = path.with_name(PAIRS)
    try:
        pairs = pd.read_csv(pairs_path)
    except (OSError, ValueError) as error:
        raise UserError(
            f"{path}: has ratios of means only, and the pairs that geometric ones are made of "
            f"cannot be read ({pairs_path}: {error}); put {PAIRS} of the same evaluation beside it"
        ) from error
    wanted = ["model", "content", "style", *LOSSES]
    if missing := [name for name in wanted if name not in pairs.columns]:
        raise UserError(f"{pairs_path}: has no column {', '.join(missing)}")
    of_model = {
        name: [
            {str(key): value for key, value in row.items() if pd.notna(value)}
            for row in group[wanted].to_dict("records")
        ]
        for name, group in pairs.groupby("model")
    }
    ratios = [
        geometric_ratios(of_model.get(model, []), of_model.get(teacher, []))
        for model, teacher in zip(table["model"], table.get("teacher", table["model"]), strict=True)
    ]
    columns = [f"{key}{RATIO}{part}" for key in LOSSES for part in _PARTS]
    found = pd.DataFrame(ratios, columns=columns, index=table.index, dtype=float)
    place = list(table.columns).index("absent") if "absent" in table else len(table.columns)
    return pd.concat([table.iloc[:, :place], found, table.iloc[:, place:]], axis=1)
