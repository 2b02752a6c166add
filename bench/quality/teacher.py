"""The teacher's outputs, which students' are compared with.

Each is computed once for a run and kept in its folder until the run is done, since every cell has a
process of its own: one ``.npy`` file, float32 (1, 3, H, W), for each pair.
They are made in float32 and in strips, which give the whole image's result in little memory,
however the students are run; so all students are compared with the same.
"""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from bench.cells import Cell
from bench.errors import UserError
from bench.execution.rows import TensorSource
from bench.execution.spool import check_scratch
from bench.execution.strip_plan import plan_strips
from bench.execution.strips import stylize_rows
from bench.image_tensors import load_tensor
from bench.quality.catalogue import default_teacher
from bench.stylizers import Stylizer, Unsupported, load_stylizer, model_facts
from bench.units import Size
from distill.host import usable_memory

_SHARE = 0.5
"""Of the memory that is free, what the teacher may take where nobody set a limit."""


class Teacher:
    """The teacher of a cell's model.

    Args:
        cell: of kind ``quality``.
        stylizer: the cell's, which is no student of itself.
        folder: where its outputs are kept; made when the first is.

    Raises:
        UserError: where there is none with trained weights, or it is the model itself; the message
            is the reason to record.
    """

    def __init__(self, cell: Cell, stylizer: Stylizer, folder: Path) -> None:
        assert cell.quality is not None
        self._cell, self._folder = cell, folder
        model = cell.quality.teacher or default_teacher(cell.model)
        if model is None:
            raise UserError(f"{cell.model} has no ratio 1 to be its teacher; set quality.teacher")
        self.model = model
        facts = model_facts(self.model, 1, 1, seed=cell.seed)
        if facts.weights == "random":
            raise UserError(
                f"the teacher {self.model} has no trained weights here; set quality.teacher to a "
                "model that has, such as METHOD-FAMILY-1x:FOLDER"
            )
        exact = cell.precision == "fp32" and cell.execution != "thumbnail"
        if exact and facts.weights_digest == stylizer.weights_digest:
            raise UserError("the model is its own teacher")
        self._digest = facts.weights_digest
        self._memory_bytes = stylizer.memory_bytes

    def prepare(self, pairs: Sequence[tuple[str, str]]) -> None:
        """Compute the outputs for pairs of content and style that are not there yet.

        Pairs of which an image cannot be read are passed over.

        Raises:
            UserError: for too little memory or disc space, and for a device without float32.
        """
        missing = [pair for pair in pairs if not self._usable(pair)]
        if not missing:
            return
        cell, size = self._cell, self._size
        self._folder.mkdir(exist_ok=True)
        # Loading a model sets the process's arithmetic to its precision, which may be another.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            try:
                stylizer = load_stylizer(self.model, device=cell.device, execution="strips")
            except Unsupported as error:
                raise UserError(f"the teacher {self.model}: {error.reason}") from error
            budget = self._memory_bytes or _free_share(cell.device)
            plan = plan_strips(stylizer, *size, budget=budget)
            for pair in missing:
                check_scratch(self._folder, 3 * 4 * size.pixels)
                try:
                    content = load_tensor(pair[0], size, role="content", device=cell.device)
                    style = load_tensor(pair[1], self._style_size, role="style", device=cell.device)
                except UserError:
                    continue  # the student's own pair cannot be read either, and is left out
                with _Sink(self._file(pair), size) as sink:
                    code = stylizer.encode_style(style)
                    stylize_rows(stylizer, TensorSource(content), sink, code, cell.alpha, plan=plan)

    def output(self, pair: tuple[str, str]) -> Tensor:
        """A prepared output (1, 3, H, W), RGB in 0..1: float32 on the CPU, a view of its file."""
        # Writable and shared, which neither PyTorch nor a limit on the data segment minds.
        return torch.from_numpy(np.load(self._file(pair), mmap_mode="r+"))

    @property
    def _size(self) -> Size:
        return Size(self._cell.width, self._cell.height)

    @property
    def _style_size(self) -> Size:
        return Size(self._cell.style_width, self._cell.style_height)

    def _usable(self, pair: tuple[str, str]) -> bool:
        try:
            found = np.load(self._file(pair), mmap_mode="r")
        except (OSError, ValueError, EOFError):
            return False
        return bool(found.shape == (1, 3, self._cell.height, self._cell.width))

    def _file(self, pair: tuple[str, str]) -> Path:
        cell = self._cell
        defining = (
            *(self.model, self._digest, *pair, *self._size, *self._style_size, cell.alpha),
            *(cell.code_version, cell.device.partition(":")[0]),
        )
        digest = hashlib.sha256(json.dumps(defining).encode()).hexdigest()[:16]
        return self._folder / f"{digest}.npy"


class _Sink:
    """Takes an image into a file, which has its name when it is complete."""

    def __init__(self, path: Path, size: Size) -> None:
        self._path = path
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        shape = (1, 3, size.height, size.width)
        self._array = np.lib.format.open_memmap(
            self._partial, mode="w+", dtype=np.float32, shape=shape
        )
        self._filled = 0

    def write(self, rows: Tensor) -> None:
        """See :class:`~bench.execution.rows.RowSink`."""
        end = self._filled + rows.shape[2]
        self._array[:, :, self._filled : end] = rows.cpu().numpy()
        self._filled = end

    def __enter__(self) -> "_Sink":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._array.flush()
        del self._array
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink()


def _free_share(device: str) -> int:
    if device.startswith("cuda"):
        return int(_SHARE * torch.cuda.mem_get_info(device)[0])
    return int(_SHARE * usable_memory().available)
