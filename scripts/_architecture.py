"""Draws which room of the package imports which, as SVG, from the imports themselves. `scripts/docs` keeps the picture.

What may live here: reading the imports, and laying the rooms out. Which import is allowed is in tests/test_house.py.
"""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "pairing_ws"

# The layers from top to bottom, each room with a line that says what it is. An import points downwards.
LAYERS: tuple[dict[str, str], ...] = (
    {"cli": "the command line", "server": "processes, start and end"},
    {
        "client": "for programs elsewhere",
        "transport": "HTTP and WebSocket connections",
        "app": "the edge mounted, and its tasks run",
    },
    {"components": "composition root: builds and joins the rest"},
    {"web": "the edge: calls and sockets", "guard": "a host application's own routes"},
    {"adapters": "one outside thing each: Redis, SQL, JWT, …"},
    {"upstream": "what another issuer's word is worth"},
    {"oauth": "what applications may get", "webhooks": "what your application hears of"},
    {"pairing": "the story of minutes", "accounts": "the story of years"},
    {"config": "the only reader of the environment", "core": "values that every room may know"},
)
# Nearly every room imports these two; their arrows would hide the others.
UNDRAWN = frozenset(LAYERS[-1])

WIDTH, BOX, GAP, MARGIN = 960, 62, 64, 24
_STYLE = """
text { font: 15px system-ui, sans-serif; fill: #1b1f24 } .what { font-size: 12px; fill: #57606a }
rect { fill: #f6f8fa; stroke: #8c959f } line { stroke: #57606a; stroke-width: 1.3 } marker path { fill: #57606a }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 } .what { fill: #9da7b1 } rect { fill: #161b22; stroke: #656d76 }
  line { stroke: #9da7b1 } marker path { fill: #9da7b1 }
}
"""


def imported_rooms() -> dict[str, set[str]]:
    """Each room, and the other rooms that its modules import anywhere."""
    found: dict[str, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room.startswith("__"):
            continue
        names: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                names |= {each.name for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {f"{node.module}.{each.name}" for each in node.names}
        ours = {name.split(".")[1] for name in names if name.startswith("pairing_ws.")}
        found.setdefault(room, set()).update(each for each in ours if not each.startswith("__"))
    return {room: others - {room} for room, others in found.items()}


def architecture() -> str:
    """The SVG. Raises ValueError for a room that has no place in the layers."""
    imports = imported_rooms()
    boxes: dict[str, tuple[float, float, float]] = {}
    for number, layer in enumerate(LAYERS):
        width = (WIDTH - 2 * MARGIN - GAP * (len(layer) - 1)) / len(layer)
        width = min(width, 420)
        left = (WIDTH - width * len(layer) - GAP * (len(layer) - 1)) / 2
        for place, room in enumerate(layer):
            boxes[room] = (left + place * (width + GAP), MARGIN + number * (BOX + GAP), width)
    if unknown := imports.keys() - boxes.keys():
        raise ValueError(f"scripts/_architecture.py has no place for {', '.join(sorted(unknown))}")
    drawn = {room: others - UNDRAWN for room, others in imports.items()}
    lines = []
    for room, others in sorted(drawn.items()):
        # What a room it imports imports as well goes without saying.
        implied = {each for other in others for each in _reachable(other, drawn)}
        lines += [_arrow(boxes[room], boxes[other]) for other in sorted(others - implied)]
    shapes = [_box(room, what, boxes[room]) for layer in LAYERS for room, what in layer.items()]
    height = 2 * MARGIN + len(LAYERS) * BOX + (len(LAYERS) - 1) * GAP
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
            "<title>Which room of pairing_ws imports which</title>",
            f"<style>{_STYLE}</style>",
            '<marker id="end" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">',
            '<path d="M0 0 8 4 0 8z"/></marker>',
            *lines,
            *shapes,
            "</svg>\n",
        ]
    )


def _reachable(room: str, imports: dict[str, set[str]]) -> set[str]:
    found: set[str] = set()
    ahead = list(imports.get(room, ()))
    while ahead:
        if (next_ := ahead.pop()) not in found:
            found.add(next_)
            ahead += imports.get(next_, ())
    return found


def _box(room: str, what: str, place: tuple[float, float, float]) -> str:
    x, y, width = place
    middle = x + width / 2
    return (
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{BOX}" rx="8"/>'
        f'<text x="{middle:.0f}" y="{y + 27:.0f}" text-anchor="middle">{room}</text>'
        f'<text class="what" x="{middle:.0f}" y="{y + 47:.0f}" text-anchor="middle">{what}</text>'
    )


def _arrow(start: tuple[float, float, float], end: tuple[float, float, float]) -> str:
    (x1, y1, w1), (x2, y2, w2) = start, end
    if y1 == y2:
        # Beside one another: from side to side.
        from_, to = (x1 + w1, x2) if x1 < x2 else (x1, x2 + w2)
        height = y1 + BOX / 2
        return f'<line x1="{from_:.0f}" y1="{height:.0f}" x2="{to:.0f}" y2="{height:.0f}" marker-end="url(#end)"/>'
    # Arrows spread along both edges towards one another, so that they do not share a point.
    lean = (x2 + w2 / 2 - x1 - w1 / 2) / WIDTH
    from_, to = x1 + w1 * (0.5 + lean * 0.7), x2 + w2 * (0.5 - lean * 0.7)
    up = y1 > y2
    return (
        f'<line x1="{from_:.0f}" y1="{y1 if up else y1 + BOX:.0f}" x2="{to:.0f}" y2="{y2 + BOX if up else y2:.0f}"'
        ' marker-end="url(#end)"/>'
    )
