"""Shares as text."""


def brief(share: float) -> str:
    """``5 %``: a round share, such as a limit."""
    return f"{100 * share:.3g} %"


def percent(share: float) -> str:
    """``2.3 %``; large ones as a factor would be read wrongly, so they stay per cent."""
    value = 100 * share
    if not value:
        return "0 %"
    digits = 0 if abs(value) >= 99.95 else 1 if abs(value) >= 0.095 else 2
    return f"{value:.{digits}f} %"
