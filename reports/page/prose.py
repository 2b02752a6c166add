"""Markdown sentences of a report as HTML."""

import re
from collections.abc import Mapping

from markdown_it import MarkdownIt
from markupsafe import Markup

from reports.text import markdown

_INLINE = MarkdownIt("zero", {"html": False}).enable(["backticks", "emphasis", "entity", "escape"])
_STRONG = re.compile("<strong>.*?</strong>")


def prose(text: str, links: Mapping[str, str] | None = None) -> Markup:
    """A sentence as HTML: strong, emphasised and code text, all else as itself.

    Args:
        text: Markdown; HTML in it is shown, not obeyed, and links are plain text.
        links: of :func:`strong_names`: such a name becomes a link that opens its records.
    """
    html: str = _INLINE.renderInline(text)
    known = links or {}

    def linked(found: re.Match[str]) -> str:
        if found[0] not in known:
            return found[0]
        return f'<a class="who" href="#tables" data-r="{known[found[0]]}">{found[0]}</a>'

    return Markup(_STRONG.sub(linked, html))


def strong_names(records: Mapping[str, str]) -> dict[str, str]:
    """What :func:`prose` makes of each name in strong text, and the places of its records."""
    return {
        str(_INLINE.renderInline(f"**{markdown(name)}**")): places
        for name, places in records.items()
    }
