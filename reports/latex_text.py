"""Text in LaTeX: every character as itself, whatever the engine."""

import unicodedata

from reports.text import one_line

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"{\char34}",
    "`": r"\`{}",
    # behind the end of a line of a table these would belong to it
    "[": "{[}",
    "*": "{*}",
    "\N{NO-BREAK SPACE}": "~",
    "–": "--",
    "—": "---",
    "‘": "`{}",
    "’": "'{}",
    "“": "``",
    "”": "''",
    "…": r"\ldots{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "∞": r"$\infty$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "↑": r"$\uparrow$",
    "↓": r"$\downarrow$",
    "−": "$-$",
    "°": r"$^{\circ}$",
    "µ": r"$\mu$",
    "†": r"$\dagger$",
    "‡": r"$\ddagger$",
    "◊": r"$\diamond$",
    "‖": r"$\|$",
    "§": r"\S{}",
    "¶": r"\P{}",
    "ß": r"\ss{}",
    "æ": r"\ae{}",
    "Æ": r"\AE{}",
    "ø": r"\o{}",
    "Ø": r"\O{}",
    "œ": r"\oe{}",
    "Œ": r"\OE{}",
    "ı": r"\i{}",
    "ł": r"\l{}",
    "Ł": r"\L{}",
}
_ACCENTS = {
    "\u0300": "`",
    "\u0301": "'",
    "\u0302": "^",
    "\u0303": "~",
    "\u0304": "=",
    "\u0306": "u",
    "\u0307": ".",
    "\u0308": '"',
    "\u030a": "r",
    "\u030b": "H",
    "\u030c": "v",
    "\u0323": "d",
    "\u0327": "c",
    "\u0331": "b",
}
_GREEK = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "varepsilon",
    "ζ": "zeta",
    "η": "eta",
    "θ": "theta",
    "λ": "lambda",
    "μ": "mu",
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "varphi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Γ": "Gamma",
    "Δ": "Delta",
    "Θ": "Theta",
    "Λ": "Lambda",
    "Σ": "Sigma",
    "Φ": "Phi",
    "Ψ": "Psi",
    "Ω": "Omega",
}
CHARACTER = "benchchar"
"""Command for what pdfLaTeX has no font for."""
DEFINE = (
    f"\\providecommand{{\\{CHARACTER}}}[2]{{{{\\footnotesize[U+#1]}}}}"
    f"% with XeLaTeX or LuaLaTeX: \\newcommand{{\\{CHARACTER}}}[2]{{#2}} in the preamble"
)


def escape(text: str) -> str:
    """``text`` on one line, to be typeset as itself by pdfLaTeX, XeLaTeX or LuaLaTeX.

    Accented Latin, Greek and the signs of this project's tables become commands. What pdfLaTeX has
    no font for becomes ``\\benchchar{CODE}{character}``, which shows the code point unless the
    document redefines it; :data:`DEFINE` provides the command.
    """
    characters = unicodedata.normalize("NFC", one_line(text))
    return "".join(
        # two of these together would become one sign
        f"{{}}{_escaped(c)}" if c in "-,'" and before == c else _escaped(c)
        for before, c in zip(f" {characters}", characters, strict=False)
    )


def _escaped(character: str) -> str:
    if known := _SPECIAL.get(character):
        return known
    if letter := _GREEK.get(character):
        return f"$\\{letter}$"
    if character.isascii():
        return character
    base, *marks = list(unicodedata.normalize("NFD", character))
    if base.isascii() and base.isalpha() and len(marks) == 1 and marks[0] in _ACCENTS:
        # an accent takes the place of the dot
        plain = {"i": r"\i", "j": r"\j"}.get(base, base) if _above(marks[0]) else base
        return f"\\{_ACCENTS[marks[0]]}{{{plain}}}"
    return f"\\{CHARACTER}{{{ord(character):04X}}}{{{character}}}"


def _above(mark: str) -> bool:
    return unicodedata.combining(mark) == 230
