"""LaTeX of names that mean something to TeX, and of every table by a real TeX."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reports_data import SIZES, cpu_run, cuda_run, frame
from reports_data import performance as cell
from reports_data import quality as quality_cell

from reports.latex import snippet
from reports.latex_text import escape
from reports.model_table import model_table
from reports.reading import read_results
from reports.report import write_tables
from reports.sweep_table import sweep_table
from reports.tables import all_tables, failures_table

NASTY = (
    r"wct-vgg16-16x:/x/\input{/etc/passwd} $we|ird_名_^2$ 100% #1 & {~} <b>``q''</b> --- ,, "
    "[x] *y* é ñ Ł ß λ ± 🙂 \u0301 ?` !` \\\\"
)
ENDS = ("out_of_memory", "timeout", "crashed", "unsupported", "skipped", "predicted")


def test_what_means_something_to_tex_is_escaped() -> None:
    assert escape(r"a_b{c}$d$&#%~^\e") == (
        r"a\_b\{c\}\$d\$\&\#\%\textasciitilde{}\textasciicircum{}\textbackslash{}e"
    )
    assert escape("<b>|") == r"\textless{}b\textgreater{}\textbar{}"
    assert escape("a--b ,, ''") == "a-{}-b ,{}, '{}'"
    assert escape("18 ± 2 × 3 ↓") == r"18 $\pm$ 2 $\times$ 3 $\downarrow$"
    assert escape("– – 3–4") == "-- -- 3--4"
    assert escape("é Ñ ǰ λ") == r"\'{e} \~{N} \v{\j} $\lambda$"
    assert escape("模\x07 🙂") == r"\benchchar{6A21}{模} \benchchar{1F642}{🙂}"


@given(st.text(max_size=60))
def test_nothing_of_a_foreign_text_is_left_for_tex_to_obey(text: str) -> None:
    escaped = escape(text)
    assert "\n" not in escaped
    # what is left without our own commands, and the characters they take along
    plain = re.sub(r"\\benchchar\{[0-9A-F]+\}\{.\}", "", escaped)
    plain = re.sub(r"\$(\\[a-zA-Z]+|-|\^\{\\circ\})\$", "", plain)
    plain = re.sub(r"\\([a-zA-Z]+(\{\})?|[{}$&#%_]|[`'^~=.\"]\{?)|\{\\char34\}", "", plain)
    assert not re.search(r"[\\$&#%_^~]", plain), escaped
    assert escaped.isascii() or r"\benchchar" in escaped


def test_units_directions_footnotes_caption_and_label_are_there() -> None:
    text = snippet(model_table(read_results(frame(cpu_run()))))
    assert text.startswith("% models: needs \\usepackage{booktabs,graphicx}\n")
    assert r"\caption{Models at 2304$\times$1728 px.}" in text
    assert r"\label{tab:models}" in text
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 1
    assert r"Latency\\at 2304$\times$1728\\(s)" in text
    assert r"\textbf{2.401 $\pm$ 0.072}" in text
    assert r"\underline{" in text
    assert r"adain-vgg16-4x$^{\dagger}$" in text
    assert r"$^{\dagger}$ random weights" in text


def test_failures_and_predictions_are_marked() -> None:
    records = [
        cell("wct-vgg16-16x", SIZES["1MP"]),
        cell("wct-vgg16-1x", SIZES["1MP"], status="out_of_memory"),
        cell("adain-vgg16-1x", SIZES["1MP"], status="skipped", estimate_s=4.2),
    ]
    text = snippet(model_table(read_results(frame(records))))
    assert r"out of memory$^{\S}$" in text
    assert r"$\approx$ 4.20$^{\ddagger}$" in text
    assert r"$^{\ddagger}$ predicted from other cells, not measured" in text
    assert r"$^{\S}$ not measured" in text


def test_small_numbers_are_powers_of_ten_and_names_are_not() -> None:
    made = quality_cell("wct-vgg16-1x:/x/1e-05") | {"style_loss": 1.234e-5, "per_pair": None}
    (table,) = [t for t in all_tables(read_results(frame([made]))) if t.name == "quality"]
    assert r"1.23$\cdot10^{-5}$" in snippet(table)
    assert "wct-vgg16-1x:1e-05" in snippet(table)


def test_a_long_table_goes_on_in_further_floats() -> None:
    sizes = [(64 * n, 64 * n) for n in range(1, 101)]
    table = sweep_table(read_results(frame([cell("wct-vgg16-16x", size) for size in sizes])))
    text = snippet(table)
    parts = text.split(r"\clearpage")
    assert len(parts) > 2
    assert f"(part 1 of {len(parts)})" in parts[0]
    assert text.count(r"\label{") == 1
    assert all(part.count(r"\toprule") == 1 for part in parts)
    assert sum(part.count("wct-vgg16-16x") for part in parts) == 100


def test_an_empty_table_says_so() -> None:
    text = snippet(model_table(read_results(frame([]))))
    assert "No performance cell is in this run." in text
    assert r"\begin{tabular}" not in text


RUNS: dict[str, list[dict[str, Any]]] = {
    "cpu": cpu_run(),
    "cuda": cuda_run(),
    "empty": [],
    "nasty": [
        *(cell(NASTY, size) for size in SIZES.values()),
        quality_cell(NASTY)
        | {"kid": 0.02, "kid_low": 0.01, "kid_high": 0.05, "fd_vgg": 5.0}
        | {"quality_notes": {"fd_vgg": f"bias, {NASTY}"}, "metrics_absent": {NASTY: NASTY * 4}},
        *(
            cell("wct-vgg16-1x", size, status=status, reason=NASTY * 4, estimate_s=5.0)
            for size, status in zip(SIZES.values(), ENDS, strict=True)
        ),
    ],
}


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
@pytest.mark.parametrize("name", RUNS)
def test_a_real_tex_takes_every_table(name: str, tmp_path: Path) -> None:
    tables = all_tables(read_results(frame(RUNS[name])))
    write_tables(tables, tmp_path, ["latex"])
    done = compiled(tmp_path / "tables", "all.tex")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex on this machine")
def test_a_snippet_fits_a_paper_of_two_columns(tmp_path: Path) -> None:
    results = read_results(frame(RUNS["nasty"]))
    write_tables([model_table(results), failures_table(results)], tmp_path, ["latex"])
    (tmp_path / "paper.tex").write_text(
        "\\documentclass[twocolumn]{article}\n\\usepackage{booktabs,graphicx}\n\\begin{document}\n"
        "Table~\\ref{tab:models}.\n\\input{tables/models}\\input{tables/failures}\n\\end{document}\n"
    )
    done = compiled(tmp_path, "paper.tex")
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


def compiled(folder: Path, name: str) -> subprocess.CompletedProcess[str]:
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", name]
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, errors="replace", timeout=120
    )
