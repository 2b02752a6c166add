"""The table of `distill evaluate`, read and checked."""

from pathlib import Path

import pandas as pd

from bench.errors import UserError

PANELS = {
    "reconstruction_psnr_relu4_1": "PSNR of reconstruction (dB)\n(relu4_1, higher is better)",
    "style_loss_ratio": "Style loss / teacher's\n(lower is better)",
    "content_loss_ratio": "Content loss / teacher's\n(lower is better)",
    "lpips_teacher": "LPIPS to teacher's output\n(lower is better)",
}
_NEEDED = ("model", "group", "method", "family", "ratio", "compressor", "weights", "network")
_PARTS = ("", "_low", "_high")
_NUMBERS = ("ratio", "size_px", "photographs", "pairs")


def read_table(path: Path) -> pd.DataFrame:
    """A table of models that `distill evaluate` wrote.

    Raises:
        UserError: for a file that is not there or not such a table.
    """
    try:
        table = pd.read_csv(path, dtype={"seed": str}, keep_default_na=True)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read as a table ({error})") from error
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
