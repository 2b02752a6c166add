"""Tables in LaTeX, for any of its engines; booktabs and graphicx are all it takes."""

import re
from collections.abc import Iterator, Sequence
from textwrap import wrap

from reports.latex_text import CHARACTER, DEFINE, escape
from reports.table import Column, Shown, Table, footnotes, ranks
from reports.text import one_line

PACKAGES = ("booktabs", "graphicx")
LINES = 32
"""Lines of one page; a longer table goes on in further floats."""
_COLUMN = 58
"""Characters in a line of small type that one column of a two-column paper holds."""
_CELL = 36
"""Characters beyond which a cell of text is broken into lines."""
_BODY = 60
"""Characters in a line of a message."""
_HEAD = 16
"""Characters in a line of a heading."""


def snippet(table: Table) -> str:
    """A table as one or several floats, to be taken in by ``\\input``."""
    head = f"% {table.name}: needs \\usepackage{{{','.join(PACKAGES)}}}"
    if not table.rows:
        body = "\n".join(
            [r"\begin{table}[t]", r"\centering", *_caption(table, ""), escape(table.if_empty)]
        )
        return f"{head}\n{body}\n\\end{{table}}\n"
    columns = [column for column in table.shown_columns if column.paper]
    cells = table.cells(columns)
    pages = list(_pages(cells))
    floats = [
        _float(table, columns, cells, page, f" (part {n} of {len(pages)})" if pages[1:] else "")
        for n, page in enumerate(pages, start=1)
    ]
    text = "\n\\clearpage\n".join(floats)
    define = f"{DEFINE}\n" if f"\\{CHARACTER}{{" in text else ""
    return f"{head}\n{define}{text}\n"


def document(names: Sequence[str]) -> str:
    """A document that shows the tables of these names, which lie beside it."""
    lines = [
        r"\documentclass{article}",
        r"\usepackage[a4paper,landscape,margin=18mm]{geometry}",
        *(f"\\usepackage{{{package}}}" for package in PACKAGES),
        r"\begin{document}",
        *(f"\\input{{{name}}}\n\\clearpage" for name in names),
        r"\end{document}",
    ]
    return "\n".join(lines) + "\n"


def _pages(cells: Sequence[Sequence[Shown]]) -> Iterator[range]:
    """Rows of each page."""
    start = lines = 0
    for index, row in enumerate(cells):
        height = max(len(_broken(cell.text)) for cell in row)
        if lines + height > LINES and index > start:
            yield range(start, index)
            start, lines = index, 0
        lines += height
    yield range(start, len(cells))


def _float(
    table: Table,
    columns: Sequence[Column],
    cells: Sequence[Sequence[Shown]],
    page: range,
    more: str,
) -> str:
    part = cells[page.start : page.stop]
    rows = table.rows[page.start : page.stop]
    right = [table.numeric(column) for column in columns]
    heads = [_head(str(column.heading), r) for column, r in zip(columns, right, strict=True)]
    lines = []
    for index, (row, line) in enumerate(zip(rows, part, strict=True)):
        if index and table.block(row) != table.block(rows[index - 1]):
            lines.append(r"\addlinespace")
        lines.append(f"{' & '.join(map(_cell, line, right))} \\\\")
    wide = _width(columns, part) > _COLUMN
    name = "table*" if wide else "table"
    place = "p" if more else "t"
    tabular = [
        f"\\begin{{tabular}}{{@{{}}{''.join('r' if r else 'l' for r in right)}@{{}}}}",
        r"\toprule",
        f"{' & '.join(heads)} \\\\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
    ]
    return "\n".join(
        [
            f"\\begin{{{name}}}[{place}]",
            r"\centering",
            *_caption(table, more, labelled=page.start == 0),
            r"\small",
            r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
            *tabular,
            "}",
            *_notes(table, part),
            f"\\end{{{name}}}",
        ]
    )


def _caption(table: Table, more: str, *, labelled: bool = True) -> list[str]:
    caption = f"\\caption{{{_sized(f'{table.title}{more}.')}}}"
    if not labelled:
        # a further part of the same table has its number
        return [r"\addtocounter{table}{-1}", caption]
    return [caption, f"\\label{{tab:{table.name}}}"]


def _notes(table: Table, cells: Sequence[Sequence[Shown]]) -> list[str]:
    """Beneath the table: what it says of itself, its footnotes, and what is best."""
    marked = ranks(cells)
    signs = [f"$^{{{_sign(m.sign)}}}$ {escape(m.words)}" for m in footnotes(cells)]
    signs += [r"\textbf{best}"] if "best" in marked else []
    signs += [r"\underline{second best}"] if "second" in marked else []
    notes = [_sized(table.note)] if table.note else []
    notes += [f"{'; '.join(signs)}."] if signs else []
    notes += [_sized(remark.text) for remark in table.remarks if remark.paper]
    if not notes:
        return []
    return [
        r"\par\smallskip",
        f"\\parbox{{\\linewidth}}{{\\raggedright\\footnotesize {' '.join(notes)}}}",
    ]


def _sign(sign: str) -> str:
    return {"§": r"\S", "¶": r"\P"}.get(sign) or escape(sign).strip("$")


def _head(heading: str, right: bool) -> str:
    lines = r"\\".join(_sized(part) for part in _parts(heading))
    side = "r" if right else "l"
    return f"\\begin{{tabular}}[b]{{@{{}}{side}@{{}}}}{lines}\\end{{tabular}}"


def _parts(heading: str) -> list[str]:
    """A heading in as many lines as it has parts: name, place, unit."""
    parts = re.split(r" (?=[(\[]|at \d|under \d)|, (?![^(\[]*[)\]])", heading)
    return [line for part in parts for line in wrap(one_line(part), _HEAD)]


def _cell(cell: Shown, right: bool) -> str:
    if right:
        text = _number(cell.text)
    else:
        lines = _broken(cell.text)
        text = r"\\".join(escape(line) for line in lines)
        if len(lines) > 1:
            text = f"\\begin{{tabular}}[t]{{@{{}}l@{{}}}}{text}\\end{{tabular}}"
    if cell.rank:
        text = f"\\{'textbf' if cell.rank == 'best' else 'underline'}{{{text}}}"
    signs = ",".join(_sign(mark.sign) for mark in cell.marks)
    return f"{text}$^{{{signs}}}$" if signs else text


def _broken(text: str) -> list[str]:
    """Into lines: a name's are shorter than a message's."""
    return wrap(one_line(text), _BODY if " " in text else _CELL) or [""]


def _number(text: str) -> str:
    """A number's text, its exponent as a power of ten and its minus as one."""
    parts = re.split(r"(\d)e([+-]\d+)", text)
    out = [_plain_number(parts[0])]
    for digit, exponent, rest in zip(parts[1::3], parts[2::3], parts[3::3], strict=True):
        out.append(f"{digit}$\\cdot10^{{{int(exponent)}}}${_plain_number(rest)}")
    return "".join(out)


def _plain_number(text: str) -> str:
    text = re.sub(r"(?<![\w.])-(?=\d)", "$-$", escape(text))
    return re.sub(r"(?<=\d)x(?=\d|$)", r"$\\times$", text)


def _sized(text: str) -> str:
    """Text of our own, with its sizes and powers of ten as such."""
    text = re.sub(r"(?<=\d)x(?=\d)", r"$\\times$", escape(text))
    return re.sub(r"10\\textasciicircum\{\}(\d+)", r"$10^{\1}$", text)


def _width(columns: Sequence[Column], cells: Sequence[Sequence[Shown]]) -> int:
    """Characters of the widest line, roughly."""
    heads = [max(map(len, _parts(str(column.heading)))) for column in columns]
    texts = [max(max(map(len, _broken(row[n].text))) for row in cells) for n in range(len(columns))]
    return sum(max(pair) + 2 for pair in zip(heads, texts, strict=True))
