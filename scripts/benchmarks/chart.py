"""Bar charts as SVG, without a library: readable in a README, on light and on dark paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape

WIDTH = 720
_LEFT, _RIGHT = 90, 190
_BAR, _GAP, _HEAD, _TOP = 16, 4, 26, 62
_STYLE = """
    text { font: 13px system-ui, sans-serif; fill: #24292f }
    .title { font-size: 17px; font-weight: 600 }
    .note { font-size: 12px; fill: #656d76 }
    .group { font-weight: 600 }
    rect { fill: #afb8c1 }
    rect.ours { fill: #0969da }
    @media (prefers-color-scheme: dark) {
      text { fill: #e6edf3 } .note { fill: #8d96a0 }
      rect { fill: #6e7681 } rect.ours { fill: #4493f8 }
    }
  """


class Bar(NamedTuple):
    """One bar."""

    name: str
    value: float
    text: str
    """What stands at its end."""
    ours: bool = False
    """Whether it stands out."""


class Group(NamedTuple):
    """Bars of one scale: the longest takes the whole width."""

    title: str
    bars: Sequence[Bar]


def chart(title: str, note: str, groups: Sequence[Group]) -> str:
    """An SVG document."""
    lines, y = [], _TOP
    for group in groups:
        y += _HEAD
        lines.append(_text(0, y - 8, group.title, "group"))
        longest = max((bar.value for bar in group.bars), default=0) or 1
        for bar in group.bars:
            width = max(1.0, bar.value / longest * (WIDTH - _LEFT - _RIGHT))
            kind = ' class="ours"' if bar.ours else ""
            lines.append(_text(_LEFT - 8, y + 13, bar.name, "name", anchor="end"))
            lines.append(
                f'<rect{kind} x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_BAR}" rx="2"/>'
            )
            lines.append(_text(_LEFT + width + 8, y + 13, bar.text, "value"))
            y += _BAR + _GAP
        y += _GAP * 2
    body = "\n  ".join([_text(0, 20, title, "title"), _text(0, 42, note, "note"), *lines])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" '
        f'viewBox="0 0 {WIDTH} {y}" role="img" aria-label="{escape(title, {chr(34): "&quot;"})}">\n'
        f"  <style>{_STYLE}</style>\n  {body}\n</svg>\n"
    )


def _text(x: float, y: float, text: str, kind: str, anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(text)}</text>'
