"""What a person sees of a run: a live table in a terminal, else a line for each finished cell."""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Literal, Protocol, Self, TextIO

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from bench.cells import Cell
from bench.measure.conditions import disturbances
from bench.record import SOME_PAIRS, Record, cut_by_run

_STYLES = {"ok": "green", "skipped": "yellow", "unsupported": "yellow"}
_LINES_AROUND_TABLE = 7
_WIDTH_FOR_REASONS = 110
_WIDTH_FOR_NUMBERS = 64


class Progress(Protocol):
    """Told of everything that happens in a run. A context manager around it."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...

    def started(self, cell: Cell, *, estimate_s: float | None, time_left_s: float | None) -> None:
        """A cell begins; one pass is estimated at ``estimate_s``, all that is left at the other."""

    def finished(self, record: Record) -> None:
        """A cell has its record."""

    def settled(self, records: Sequence[Record], why: str) -> None:
        """Cells have their records without being run, all for one reason."""

    def note(self, text: str) -> None:
        """Something a person should know, in one line."""

    def end(self, text: str) -> None:
        """How it all ended, in one line."""


def progress_for(*, total: int, done: int, quiet: bool, stream: TextIO | None = None) -> Progress:
    """The kind of progress that suits ``stream`` (standard output): live, plain or quiet.

    ``total`` cells of which ``done`` have a record from before.
    """
    stream = stream or sys.stdout
    if quiet:
        return QuietProgress(stream)
    if stream.isatty():
        return LiveProgress(total=total, done=done, console=Console(file=stream))
    return PlainProgress(total=total, done=done, stream=stream)


class QuietProgress:
    """Only the end."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing to put away."""

    def started(self, cell: Cell, *, estimate_s: float | None, time_left_s: float | None) -> None:
        """Not shown."""

    def finished(self, record: Record) -> None:
        """Not shown."""

    def settled(self, records: Sequence[Record], why: str) -> None:
        """Not shown."""

    def note(self, text: str) -> None:
        """Not shown."""

    def end(self, text: str) -> None:
        """Print the line."""
        print(printable(text), file=self._stream, flush=True)


class PlainProgress(QuietProgress):
    """One line for each finished cell, for logs and pipes."""

    def __init__(self, *, total: int, done: int, stream: TextIO) -> None:
        super().__init__(stream)
        self._total = total
        self._done = done

    def finished(self, record: Record) -> None:
        """Print the line."""
        self._done += 1
        number = f"[{self._done}/{self._total}]"
        line = f"{number} {record.status:<13} {label(record)}: {outcome(record)}"
        print(printable(line), file=self._stream, flush=True)

    def settled(self, records: Sequence[Record], why: str) -> None:
        """Print one line for all."""
        self._done += len(records)
        self.note(f"[{self._done}/{self._total}] {settled_text(records, why)}")

    def note(self, text: str) -> None:
        """Print the line."""
        print(printable(text), file=self._stream, flush=True)


class LiveProgress:
    """A table of the latest cells over a bar, drawn anew once a second at most.

    More often would take time from what is measured.
    """

    def __init__(self, *, total: int, done: int, console: Console) -> None:
        self._total = total
        self._done = done
        self._console = console
        self._records: list[Record] = []
        self._began = time.monotonic()
        self._running: tuple[Cell, float, float | None] | None = None
        self._left: tuple[float, float] | None = None
        self._live = Live(
            console=console,
            get_renderable=self._render,
            refresh_per_second=1,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._running = None
        self._live.stop()

    def started(self, cell: Cell, *, estimate_s: float | None, time_left_s: float | None) -> None:
        """Shown at the next drawing."""
        now = time.monotonic()
        self._running = (cell, now, estimate_s)
        self._left = None if time_left_s is None else (time_left_s, now)

    def finished(self, record: Record) -> None:
        """Shown at the next drawing."""
        self._done += 1
        self._running = None
        self._records.append(record)

    def settled(self, records: Sequence[Record], why: str) -> None:
        """Printed above the table."""
        self._done += len(records)
        self.note(settled_text(records, why))

    def note(self, text: str) -> None:
        """Printed above the table."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def end(self, text: str) -> None:
        """Print the line below the table."""
        self._console.print(Text(printable(text)), soft_wrap=True)

    def _render(self) -> Group:
        narrow = self._console.width < _WIDTH_FOR_NUMBERS
        columns = {"status": 13} if narrow else {"status": 13, "latency": 9, "memory": 9}
        if self._console.width >= _WIDTH_FOR_REASONS:
            columns["reason"] = 26
        # Left to itself, the table would shorten every column alike.
        room = max(self._console.width - sum(columns.values()) - 2 * len(columns), 10)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
        # What tells cells apart stands last: in a narrow terminal a name takes several lines.
        table.add_column("cell", width=room, no_wrap=not narrow, overflow="ellipsis")
        for heading, width in columns.items():
            numeric = heading in ("latency", "memory")
            justify: Literal["left", "right"] = "right" if numeric else "left"
            table.add_column(heading, width=width, justify=justify, no_wrap=True)
        lines = max((self._console.height - _LINES_AROUND_TABLE) // (3 if narrow else 1), 3)
        for record in self._records[-lines:]:
            row = [
                Text(printable(label(record))),
                Text(record.status, style=_STYLES.get(record.status, "red")),
                Text(latency_text(record)),
                Text(memory_text(record)),
                Text(printable(record.reason_code or ""), style="dim"),
            ]
            table.add_row(*row[: 1 + len(columns)])
        now = time.monotonic()
        if self._running:
            cell, since, estimate_s = self._running
            about = "" if estimate_s is None else f"a pass takes about {duration_text(estimate_s)}"
            row = [
                Text(printable(cell.label()), style="bold"),
                Text("running", style="bold"),
                Text(duration_text(now - since), style="dim"),
                Text(""),
                Text(about, style="dim"),
            ]
            table.add_row(*row[: 1 + len(columns)])
        bar = Table.grid(padding=(0, 2))
        left = "?" if self._left is None else duration_text(self._left[0] + self._left[1] - now)
        parts: list[RenderableType] = [
            ProgressBar(total=max(self._total, 1), completed=self._done, width=8 if narrow else 20),
            Text(f"{self._done}/{self._total} cells"),
            Text(f"elapsed {duration_text(now - self._began)}"),
            Text(f"left about {left}" if self._done < self._total else ""),
        ]
        bar.add_row(*(parts[:2] + parts[3:] if narrow else parts))
        return Group(table, bar)


def settled_text(records: Sequence[Record], why: str) -> str:
    """Cells that were not run, all for one reason: ``37 cells: bf16 is not native ...``."""
    return f"{len(records)} cell{'' if len(records) == 1 else 's'}: {why}"


def label(record: Record) -> str:
    """What sets a record's cell apart, as :meth:`Cell.label` has it."""
    size = f"{record.width}x{record.height}"
    what = f"{record.model} {record.execution} {record.precision} {size}"
    if record.repeat:
        what += f" (process {record.repeat + 1})"
    return what if record.kind == "performance" else f"{what} quality"


def outcome(record: Record) -> str:
    """What came of a cell, in a few words: its numbers, or the reason for their absence."""
    if record.status != "ok":
        reason = (record.reason or record.reason_code or "").splitlines()
        return reason[0] if reason else "no reason given"
    numbers = [latency_text(record), memory_text(record), *_quality_texts(record)]
    numbers += disturbances(record.conditions)
    shown = ", ".join(text for text in numbers if text) or "measured"
    if record.reason_code == SOME_PAIRS:
        return f"{shown} ({record.reason})"
    return f"{shown} (measured once)" if record.reason_code == "measured_once" else shown


def latency_text(record: Record) -> str:
    """Median latency with its unit; empty without one."""
    if record.latency_ms is None:
        return ""
    if record.latency_ms >= 1000:
        return f"{record.latency_ms / 1e3:.2f} s"
    return f"{record.latency_ms:.3g} ms"


def memory_text(record: Record) -> str:
    """Peak memory with its unit, the device's allocator before the host's growth; or empty."""
    peaks = (record.peak_allocated_mb, record.peak_rss_growth_mb)
    peak = next((value for value in peaks if value is not None), None)
    return "" if peak is None else f"{peak:.0f} MB"


def _quality_texts(record: Record) -> list[str]:
    metrics = {
        "content loss": record.content_loss,
        "style loss": record.style_loss,
        "LPIPS": record.lpips,
    }
    return [f"{name} {value:.4g}" for name, value in metrics.items() if value is not None]


def summary(records: Iterable[Record]) -> str:
    """How many cells ended in which way: ``12 ok, 1 out_of_memory``, and how many of them were
    measured under disturbance.

    What the run's time limit cut off says nothing of the model, so it is told apart.
    """
    records = list(records)
    counts = Counter(
        "not measured (run's time limit)"
        if cut_by_run(record.status, record.reason_code)
        else record.status
        for record in records
    )
    text = ", ".join(f"{number} {status}" for status, number in counts.most_common()) or "no cells"
    disturbed = [found for record in records if (found := disturbances(record.conditions))]
    if not disturbed:
        return text
    labels = Counter(label for found in disturbed for label in found)
    named = ", ".join(f"{number} {label}" for label, number in labels.most_common())
    return f"{text}; {len(disturbed)} measured under disturbance: {named}"


def duration_text(seconds: float) -> str:
    """``7 s``, ``3 min 20 s``, ``1 h 05 min``; never negative."""
    whole = max(round(seconds), 0)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def printable(text: str) -> str:
    """Without what a terminal would obey: control characters of file and model names."""
    return "".join(character if character.isprintable() else "?" for character in text)
