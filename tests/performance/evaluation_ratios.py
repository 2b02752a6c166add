"""Geometric ratios for folders of `distill evaluate` that were written with ratios of means alone.

    python -m tests.performance.evaluation_ratios docs/results/evaluation-wct

Nothing is measured: ``evaluate.csv`` gets the columns from ``pairs.csv``, and ``evaluate.md`` its
tables of losses anew. `bench report FOLDER` then draws the figure.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import pandas as pd

from distill.evaluation.page import INTERVAL_DEFINITION, RATIO_DEFINITION, over_seeds, stylised
from distill.evaluation.summary import COLUMNS, RATIO
from distill.models import short_names
from reports.evaluation_table import read_table


def main() -> None:
    """Rewrite the table and the page of each folder."""
    parser = argparse.ArgumentParser(prog="python -m tests.performance.evaluation_ratios")
    parser.add_argument("folders", type=Path, nargs="+")
    for folder in parser.parse_args().folders:
        rewrite(folder)
        print(folder)


def rewrite(folder: Path) -> None:
    """Add the ratios to ``evaluate.csv`` and ``evaluate.md`` of a folder; all else stays."""
    table = read_table(folder / "evaluate.csv")
    # As text, so that no digit of what was measured changes.
    written = pd.read_csv(folder / "evaluate.csv", dtype=str, keep_default_na=False)
    ratios = [name for name in COLUMNS if RATIO in name]
    for name in ratios:
        written[name] = ["" if pd.isna(value) else repr(float(value)) for value in table[name]]
    written[list(COLUMNS)].to_csv(folder / "evaluate.csv", index=False)
    plain = table.astype(object).where(table.notna(), None)
    rows: list[dict[str, Any]] = [
        {str(key): value for key, value in row.items()} for row in plain.to_dict("records")
    ]
    names = short_names([row["model"] for row in rows])
    page = folder / "evaluate.md"
    text = page.read_text(encoding="utf-8")
    measured = [row for row in rows if row.get("content_loss") is not None]
    text = _section(text, "Stylised pictures", stylised(measured, names))
    if seeded := over_seeds(rows):
        text = _section(text, "Over seeds", seeded)
    text = re.sub(r"- Loss / teacher's: [^\n]*", lambda _: RATIO_DEFINITION, text)
    text = re.sub(r"- Intervals[^\n]*", lambda _: INTERVAL_DEFINITION, text)
    page.write_text(text, encoding="utf-8")


def _section(text: str, heading: str, content: str) -> str:
    """A page with the content of one section replaced."""
    start = text.index(f"## {heading}\n")
    end = text.find("\n## ", start)
    rest = text[end:] if end > 0 else "\n"
    return f"{text[:start]}## {heading}\n\n{content}\n{rest}"


if __name__ == "__main__":
    main()
