"""Tables in a terminal of any width."""

from math import ceil
from typing import Any

from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text


class Screen(Console):
    """A console on which a table that is too wide for it stands as a paragraph for each row."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print, as Rich does."""
        super().print(*(self._fitted(one) for one in objects), **options)

    def _fitted(self, renderable: Any) -> Any:
        if not isinstance(renderable, Table):
            return renderable
        free = (
            self.width - Measurement.get(self, self.options.update(width=9999), renderable).maximum
        )
        if free >= 0:
            return renderable
        texts = [[str(column.header), *map(str, column.cells)] for column in renderable.columns]
        whole = [max(map(cell_len, some)) for some in texts]
        least = [
            max(cell_len(word) for one in some for word in one.split() or [""]) for some in texts
        ]
        give = [most - few for most, few in zip(whole, least, strict=True)]
        if sum(give) < -free:
            return _paragraphs(renderable)
        # Rich would take from every column alike, and cut words and numbers.
        for column, most, spare in zip(renderable.columns, whole, give, strict=True):
            column.width = most - ceil(-free * spare / sum(give))
        return renderable


def _paragraphs(table: Table) -> Group:
    """A table's rows as a heading and what the other columns say, words unbroken."""
    headings = [str(column.header) for column in table.columns]
    lines: list[RenderableType] = []
    for cells in zip(*(column.cells for column in table.columns), strict=True):
        first, *others = (Text(cell) if isinstance(cell, str) else cell for cell in cells)
        said = [
            Text(f"{heading} ").append_text(cell)
            for heading, cell in zip(headings[1:], others, strict=True)
            if isinstance(cell, Text) and cell
        ]
        lines += [first, Padding(Text("; ").join(said), (0, 0, 0, 2))]
    return Group(*lines)
