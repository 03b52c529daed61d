"""Curves as SVG: small multiples, both axes logarithmic, no script and nothing that is fetched."""
import math
from xml.sax.saxutils import escape

COLUMNS, WIDTH, HEIGHT = 3, 320, 250
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 62, 44
STYLE = """text { font: 11px sans-serif; fill: #222 } .name { font-weight: bold; font-size: 12px } .tick { fill: #555; font-size: 10px }
.axis, .grid { stroke: #999; fill: none } .grid { stroke: #e4e4e4 } .limit { stroke: #b55; stroke-dasharray: 4 3; fill: none }
.curve { stroke: #146; stroke-width: 2; fill: none } .point { fill: #146 }"""


def number(value):
    """1000 is 1 k, and 0.02 is 0.02."""
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if value >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def bounds(values):
    """What a logarithmic axis goes from and to: one decade at least, and room above and below."""
    low, high = math.log10(min(values)), math.log10(max(values))
    spare = max(0.08, (1 - (high - low)) / 2)
    return low - spare, high + spare


def ticks(low, high):
    """Decades, and between them 2 and 5 where there are few."""
    steps = (1,) if high - low > 3 else (1, 2, 5)
    return [step * 10 ** power for power in range(math.floor(low), math.ceil(high) + 1) for step in steps
            if low <= math.log10(step * 10 ** power) <= high]


def panel(left, top, curve):
    """CURVE: title, grows (words), of, unit, points [(size, value)], limit (the exponent that is allowed)."""
    sizes, values = zip(*curve.points)
    allowed = [values[0] * (size / sizes[0]) ** curve.limit for size in sizes]
    (x_low, x_high), (y_low, y_high) = bounds(sizes), bounds([*values, *allowed])
    right, bottom = left + WIDTH - RIGHT, top + HEIGHT - BOTTOM

    def x(size):
        return left + LEFT + (math.log10(size) - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)

    def y(value):
        return bottom - (math.log10(value) - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)

    def line(kind, heights):
        points = " ".join(f"{x(size):.1f},{y(height):.1f}" for size, height in zip(sizes, heights))
        return f'<polyline class="{kind}" points="{points}"/>'

    parts = [f'<g class="part"><text class="name" x="{left + 8}" y="{top + 18}">{escape(curve.title)}</text>',
             f'<text x="{left + 8}" y="{top + 34}">{escape(curve.grows)}</text>',
             f'<text class="tick" x="{left + 8}" y="{top + TOP - 8}">{escape(curve.unit)}</text>']
    for value in ticks(y_low, y_high):
        parts.append(f'<path class="grid" d="M{left + LEFT} {y(value):.1f}H{right}"/>')
        parts.append(f'<text class="tick" text-anchor="end" x="{left + LEFT - 5}" y="{y(value) + 3:.1f}">{number(value)}</text>')
    for size in sizes:
        parts.append(f'<path class="grid" d="M{x(size):.1f} {top + TOP}V{bottom}"/>')
        parts.append(f'<text class="tick" text-anchor="middle" x="{x(size):.1f}" y="{bottom + 14}">{number(size)}</text>')
    parts += [f'<path class="axis" d="M{left + LEFT} {top + TOP}V{bottom}H{right}"/>',
              f'<text text-anchor="middle" x="{(left + LEFT + right) / 2:.1f}" y="{bottom + 30}">{escape(curve.of)}</text>',
              line("limit", allowed), line("curve", values)]
    parts += [f'<circle class="point" cx="{x(size):.1f}" cy="{y(value):.1f}" r="3"/>' for size, value in curve.points]
    return "".join(parts) + "</g>"


def svg(title, curves):
    rows = -(-len(curves) // COLUMNS)
    width, height = COLUMNS * WIDTH, rows * HEIGHT + 30
    panels = [panel(number % COLUMNS * WIDTH, 30 + number // COLUMNS * HEIGHT, curve) for number, curve in enumerate(curves)]
    return "\n".join([f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" role="img">',
                      f"<title>{escape(title)}</title>", f"<style>{STYLE}</style>", '<rect width="100%" height="100%" fill="#fff"/>',
                      f'<text x="8" y="20">{escape(title)}</text>', *panels, "</svg>\n"])
