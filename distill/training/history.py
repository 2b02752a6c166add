"""What a training has come to: its windows of steps, and the log of them."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

from distill.files import write_atomically


@dataclass
class Window:
    """Means over some steps: one line of the log."""

    step: int
    images: int
    seconds: float
    """Of training up to here."""
    rate: float
    terms: dict[str, float]

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

    def final_terms(self) -> dict[str, float]:
        """Each term's mean over the last tenth of the windows, at least one."""
        last = self.windows[-max(1, len(self.windows) // 10) :]
        return {key: sum(w.terms[key] for w in last) / len(last) for key in last[0].terms}


def write_log(path: Path, windows: list[Window]) -> None:
    """The curves: one line for each window."""

    def write(temporary: Path) -> None:
        with temporary.open("w", newline="") as file:
            rows = csv.writer(file, lineterminator="\n")
            keys = list(windows[0].terms) if windows else []
            rows.writerow(["step", "images", "seconds", "learning_rate", "loss", *keys])
            for window in windows:
                numbers = [window.rate, window.loss, *(window.terms[key] for key in keys)]
                rows.writerow(
                    [window.step, window.images, f"{window.seconds:.2f}"]
                    + [f"{number:.6g}" for number in numbers]
                )

    write_atomically(path, write)
