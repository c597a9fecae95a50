"""The level curve as an SVG that needs no script and no font: for the report (in the page's colours) and for the card (in its own)."""

from collections.abc import Callable
from html import escape

from trainer.synthesize.statistics import Level

WIDTH, HEIGHT = 640, 320
LEFT, RIGHT, TOP, BOTTOM = 52, 20, 18, 44
# arXiv 2509.00842 reports the ends of its curve only, for an LLM of 7 B parameters and its own encoder.
PAPER = (0.793, 0.881)


def level_chart(measured: list[Level], asked: list[Level], positive: Level | None) -> str:
    """Mean cosine to the query by level with its 10th to 90th percentile; the levels as asked for and the positive beside it."""
    if not measured:
        return ""
    values = [value for level in measured for value in (level.low, level.high)] + [level.mean for level in asked]
    values += [positive.mean] if positive else []
    low, high = _padded(min(values), max(values))
    count = len(measured)

    def x(level: float) -> float:
        return LEFT + (level - 0.5) / count * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" class="chart" font-family="system-ui, sans-serif" font-size="12">',
             f"<title>{escape(_in_words(measured))}</title>", _STYLE]
    for i in range(5):
        value = low + (high - low) * i / 4
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>'
                     f'<text class="axis" x="{LEFT - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:.2f}</text>')
    if positive:
        parts.append(f'<line class="positive" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(positive.mean):.1f}" y2="{y(positive.mean):.1f}"/>'
                     f'<text class="positive-text" x="{WIDTH - RIGHT}" y="{y(positive.mean) - 6:.1f}" text-anchor="end">positives {positive.mean:.3f}</text>')
    band = [f"{x(level.level):.1f},{y(level.high):.1f}" for level in measured] + [f"{x(level.level):.1f},{y(level.low):.1f}" for level in reversed(measured)]
    parts.append(f'<polygon class="band" points="{" ".join(band)}"/>')
    parts.append(f'<polyline class="asked" points="{_points(asked, x, y)}"/><polyline class="measured" points="{_points(measured, x, y)}"/>')
    for level in measured:
        parts.append(f'<circle class="dot" cx="{x(level.level):.1f}" cy="{y(level.mean):.1f}" r="4.5"/>'
                     f'<text class="value" x="{x(level.level):.1f}" y="{y(level.mean) - 12:.1f}" text-anchor="middle">{level.mean:.3f}</text>'
                     f'<text class="axis" x="{x(level.level):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">level {level.level}</text>')
    return "".join(parts) + "</svg>"


_STYLE = """<style>.grid{stroke:#8884;stroke-width:1}.axis{fill:#888}.band{fill:#2f6fde22}.measured{fill:none;stroke:#2f6fde;stroke-width:2.5}
.dot{fill:#2f6fde}.value{fill:#2f6fde;font-weight:600}.asked{fill:none;stroke:#d08a1d;stroke-width:1.5;stroke-dasharray:5 4}
.positive{stroke:#2a9d62;stroke-width:1.5;stroke-dasharray:2 3}.positive-text{fill:#2a9d62}</style>"""


def _points(levels: list[Level], x: Callable[[float], float], y: Callable[[float], float]) -> str:
    return " ".join(f"{x(level.level):.1f},{y(level.mean):.1f}" for level in levels)


def _padded(low: float, high: float) -> tuple[float, float]:
    margin = max((high - low) * 0.08, 0.01)
    return low - margin, high + margin


def _in_words(levels: list[Level]) -> str:
    return "Mean cosine to the query: " + ", ".join(f"level {level.level} {level.mean:.3f}" for level in levels)
