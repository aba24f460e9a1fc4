"""The results as a picture: bars, drawn by hand, because nothing else here needs a library for plots."""

from collections.abc import Sequence
from html import escape

from scripts.bench.results import OURS, THEIRS, TITLES, Report

WIDTH, PANEL, BAR, GAP = 720, 340, 16, 14
LABELS, VALUES = 64, 48  # room left and right of the bars
# A card of its own: the text can be read whatever lies around the picture.
STYLE = """
text{font:12px system-ui,sans-serif;fill:#1f2328}.title{font-weight:600}.value{font-size:11px}
.card{fill:#fff;stroke:#d0d7de}.rembg{fill:#8c959f}.quickbg{fill:#1f6feb}
@media (prefers-color-scheme:dark){text{fill:#e6edf3}.card{fill:#0d1117;stroke:#30363d}
.rembg{fill:#6e7681}.quickbg{fill:#58a6ff}}
"""

Bars = Sequence[tuple[str, dict[str, float]]]
"""By size: the value of each variant."""


def draw(report: Report) -> str:
    """An SVG without scripts: seconds for one picture on the left, pictures a second on the right."""
    seconds: Bars = [
        (size, {variant: timing.seconds for variant in (THEIRS, OURS) if (timing := report.timing(variant, size))})
        for size in report.sizes
    ]
    rates: Bars = [
        (size, {variant: load.best.per_second for variant in (THEIRS, OURS) if (load := report.load(variant, size))})
        for size in report.sizes
    ]
    height = 78 + len(report.sizes) * (2 * BAR + GAP) + 6
    name = "Seconds for one picture, and pictures a second: rembg and QuickBG"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{name}">',
        f"<style>{STYLE}</style>",
        f'<rect class="card" x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        *_legend(),
        *_panel(16, "Seconds for one picture (shorter is better)", seconds),
        *_panel(16 + PANEL + 8, "Pictures a second as a service (longer is better)", rates),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _legend() -> list[str]:
    return [
        part
        for x, variant in ((16, THEIRS), (96, OURS))
        for part in (
            f'<rect class="{variant}" x="{x}" y="14" width="12" height="12" rx="2"/>',
            _text(x + 18, 24, TITLES[variant]),
        )
    ]


def _panel(left: int, title: str, bars: Bars) -> list[str]:
    parts = [_text(left, 54, title, "title")]
    longest = max((value for _, values in bars for value in values.values()), default=0.0)
    y = 66
    for size, values in bars:
        parts.append(_text(left, y + BAR + 4, size))
        for variant, value in values.items():
            length = max(value / longest * (PANEL - LABELS - VALUES), 1.0)
            x = left + LABELS
            parts.append(f'<rect class="{variant}" x="{x}" y="{y}" width="{length:.1f}" height="{BAR - 2}" rx="2"/>')
            parts.append(_text(x + length + 6, y + 11, f"{value:.2f}", "value"))
            y += BAR
        y += GAP
    return parts


def _text(x: float, y: float, text: str, kind: str = "label") -> str:
    return f'<text class="{kind}" x="{x:g}" y="{y:g}">{escape(text)}</text>'
