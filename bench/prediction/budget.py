"""What strips may plan with."""

from bench.cells import Cell


def budget_bytes(cell: Cell) -> int | None:
    """Bytes that an execution may plan with: the cap, less the content and a tenth to spare.

    None without a cap.
    """
    if cell.memory_cap_bytes is None:
        return None
    content = 3 * 4 * cell.width * cell.height
    return max(0, int(0.9 * cell.memory_cap_bytes) - content)
