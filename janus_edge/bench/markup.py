"""HTML and SVG elements from plain calls; text is escaped, and stays text."""

from __future__ import annotations

from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def element(name: str, *children: str, **attributes: str | float) -> Markup:
    """``element("p", "a < b", class_="note")``; underscores in names of attributes become hyphens.

    Children that are not Markup are escaped.
    """
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(_text(value))}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{joined(*children)}</{name}>")


def joined(*children: str) -> Markup:
    """Children one behind the other."""
    return Markup("".join(c if isinstance(c, Markup) else escape(c) for c in children))


def _text(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.6g}"
