"""What a training has come to: its windows of steps, and the log of them."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distill.files import naming, write_bytes_atomically


@dataclass
class Window:
    """Means over some steps: one line of the log."""

    step: int
    images: int
    seconds: float
    """Of training up to here."""
    rate: float
    terms: dict[str, float]
    held_out: dict[str, float] = field(default_factory=dict)
    """The terms' means over images that are not trained on, at the window's end; empty where they
    were not measured."""

    @property
    def loss(self) -> float:
        """Sum of the weighted terms."""
        return sum(self.terms.values())


@dataclass
class Outcome:
    """How a training ended."""

    steps: int
    images: int
    seconds: float
    windows: list[Window] = field(default_factory=list)
    partial: dict[str, float] = field(default_factory=dict)
    """Sums of the terms over the steps since the last window, of a training that was interrupted
    between two."""
    first_loss: float | None = None
    """Of the first step; None in checkpoints of older versions."""

    def final_terms(self) -> dict[str, float]:
        """Return each term's mean over the last tenth of the windows, at least one."""
        last = self.windows[-max(1, len(self.windows) // 10) :]
        return {key: sum(w.terms[key] for w in last) / len(last) for key in last[0].terms}


class Log:
    """The curves as a file: a line for each window, there as soon as the window has passed.

    Args:
        path: of the file; written anew.
        windows: so far.
        held_out: whether there is a column for the held-out loss.
    """

    def __init__(self, path: Path, windows: Sequence[Window], *, held_out: bool) -> None:
        self._path = path
        self._held_out = held_out or any(window.held_out for window in windows)
        self._terms: list[str] | None = None
        text = "".join(map(self._lines, windows))
        write_bytes_atomically(path, text.encode())

    def add(self, window: Window) -> None:
        """Add a window's line.

        Raises:
            OSError: when the disk refuses.
        """
        with naming(self._path), self._path.open("a", newline="") as file:
            file.write(self._lines(window))

    def _lines(self, window: Window) -> str:
        """A window's line, the first with the headings above it."""
        text = io.StringIO()
        rows = csv.writer(text, lineterminator="\n")
        extra = ["held_out_loss"] if self._held_out else []
        if self._terms is None:
            self._terms = list(window.terms)
            headings = ["step", "images", "seconds", "learning_rate", "loss", *self._terms]
            rows.writerow([*headings, *extra])
        numbers = [window.rate, window.loss, *(window.terms[key] for key in self._terms)]
        line = [window.step, window.images, f"{window.seconds:.2f}"]
        line += [f"{number:.6g}" for number in numbers]
        if self._held_out:
            line.append(f"{sum(window.held_out.values()):.6g}" if window.held_out else "")
        rows.writerow(line)
        return text.getvalue()
