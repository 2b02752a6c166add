"""Figures as vectors inside a page: no name of one can meet a name of another."""

import base64
import re
import xml.etree.ElementTree as ET
from dataclasses import dataclass
from pathlib import Path

import pyvips  # type: ignore[import-untyped]
from markupsafe import Markup

_SVG = "http://www.w3.org/2000/svg"
_HREFS = ("href", "{http://www.w3.org/1999/xlink}href")
_REFERENCE = re.compile(r"url\(#([^)]+)\)")
_LEFT_OUT = {f"{{{_SVG}}}{name}" for name in ("metadata", "style", "script")}
_PNG = "data:image/png;base64,"
_QUALITY = 88
"""Of rasters in a figure, as WebP; the figure's own files have them without loss."""
_WIDE_PT = 400.0
"""Width in points from which a figure takes the page's whole width."""

ET.register_namespace("", _SVG)


@dataclass(frozen=True)
class Vector:
    """A figure to stand in the page."""

    markup: Markup
    wide: bool
    """Whether it was drawn for the width of a page, not of a column."""


def inline_svg(path: Path, *, prefix: str, label: str) -> Vector:
    """An SVG file as an element of a page.

    Every name that something in it refers to gets ``prefix``, others go, so do metadata, scripts
    and style sheets, which would reach beyond the figure. Pictures in it become WebP.

    Args:
        path: the file, as matplotlib writes it.
        prefix: unlike that of any other figure of the page; letters, digits and hyphens.
        label: what the figure shows, for those who cannot see it.

    Raises:
        OSError: the file cannot be read.
        xml.etree.ElementTree.ParseError: it is no SVG.
    """
    root = ET.fromstring(path.read_bytes())
    for parent in list(root.iter()):
        for child in [one for one in parent if one.tag in _LEFT_OUT]:
            parent.remove(child)
    names = {
        name: f"{prefix}-{number}" for number, name in enumerate(dict.fromkeys(_references(root)))
    }
    for element in root.iter():
        _rename(element, names)
        if path_data := element.get("d"):
            element.set("d", " ".join(path_data.split()))
        element.text = (element.text or "").strip() or None
        element.tail = None
    width = float((root.get("width") or "0").removesuffix("pt"))
    for key in ("width", "height", "version"):
        root.attrib.pop(key, None)
    root.set("role", "img")
    root.set("aria-label", label)
    text = ET.tostring(root, encoding="unicode")
    return Vector(Markup(text), width >= _WIDE_PT)


def _references(root: ET.Element) -> list[str]:
    found = []
    for element in root.iter():
        for key, value in element.attrib.items():
            if key in _HREFS and value.startswith("#"):
                found.append(value[1:])
            else:
                found += _REFERENCE.findall(value)
    return found


def _rename(element: ET.Element, names: dict[str, str]) -> None:
    for key, value in list(element.attrib.items()):
        if key == "id":
            del element.attrib["id"]
            if value in names:
                element.set("id", names[value])
        elif key in _HREFS:
            del element.attrib[key]
            element.set("href", f"#{names[value[1:]]}" if value[:1] == "#" else _smaller(value))
        elif "url(#" in value:
            element.set(key, _REFERENCE.sub(lambda m: f"url(#{names[m[1]]})", value))


def _smaller(address: str) -> str:
    """A picture's address with WebP in it instead of PNG, where that is shorter."""
    if not address.startswith(_PNG):
        return address
    content = base64.b64decode(address.removeprefix(_PNG))
    image = pyvips.Image.new_from_buffer(content, "")
    packed: bytes = image.webpsave_buffer(Q=_QUALITY, effort=4)
    if len(packed) >= len(content):
        return address
    return f"data:image/webp;base64,{base64.b64encode(packed).decode('ascii')}"
