"""In which order the processes of two runs took turns: numbers, which no clock can change.

    RUN_DIR/ turns.json

``bench ab`` numbers the processes of both its runs together, and keeps in each run's folder the
numbers of its own. Not in the records: those are written by the versions that are compared, and
older ones do not know of turns.
"""

import json
import uuid
from pathlib import Path

from pydantic import Field, ValidationError

from bench.cells import Frozen
from bench.errors import UserError
from bench.run.records import write_file
from distill.files import read_regular
from distill.suggest import one_line

FILE = "turns.json"


class Turns(Frozen):
    """The turns of one run's processes."""

    session: str
    """Of both runs: numbers of other sessions do not compare."""
    numbers: dict[str, int] = Field(default_factory=dict)
    """From 0, by the record's file name without its ending: ``ID-REPEAT``."""

    def of(self, cell_id: str, repeat: int) -> tuple[str, int] | None:
        """Session and number of a process; None for one that had no turn."""
        number = self.numbers.get(f"{cell_id}-{repeat}")
        return None if number is None else (self.session, number)


def read_turns(run_dir: Path) -> Turns | None:
    """The turns of a run; None for one that took none.

    Raises ``UserError`` for a file that is damaged.
    """
    path = run_dir / FILE
    try:
        return Turns.model_validate(json.loads(read_regular(path)))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UserError(one_line(f"{path}: cannot be read: {error.strerror}")) from None
    except (ValidationError, ValueError, RecursionError):
        raise UserError(one_line(f"{path}: is damaged; remove it to go by the clock")) from None


class TurnCounter:
    """Numbers the processes of two runs as they end, and keeps the numbers.

    Args:
        run_dirs: the folders of both, as far as they are there; their numbers are continued.
    """

    def __init__(self, *run_dirs: Path) -> None:
        found = [turns for run_dir in run_dirs if (turns := read_turns(run_dir)) is not None]
        self._session = found[0].session if found else uuid.uuid4().hex
        self._next = 1 + max((n for turns in found for n in turns.numbers.values()), default=-1)

    def ended(self, record: Path) -> None:
        """Give the next number to the process that left this record.

        Raises ``EnvironmentUnfitError`` when the disk does not take it.
        """
        run_dir = record.parents[1]
        before = read_turns(run_dir) or Turns(session=self._session)
        turns = Turns(session=self._session, numbers={**before.numbers, record.stem: self._next})
        self._next += 1
        write_file(run_dir / FILE, (json.dumps(turns.model_dump()) + "\n").encode())
