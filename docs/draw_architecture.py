"""Draw docs/architecture.svg and docs/imports.svg from the code: who imports whom among the packages of orchestrai.

Layers are those of the import contract in pyproject.toml, arrows are imports that `ast` finds, captions are the packages' own
docstrings. Equal code gives equal bytes. `python docs/draw_architecture.py` writes both; a test compares them with what is committed.
"""

import ast
import re
import sys
import textwrap
import tomllib
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from xml.sax.saxutils import escape

ROOT = Path(__file__).resolve().parent.parent
FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif"
INK, SOFT, LINE, CARD = "#1f2937", "#4b5563", "#94a3b8", "#ffffff"
# from the top of the house to its ground
TOP, GROUND = (79, 70, 229), (13, 148, 136)
WIDTH, MARGIN, GAP, LANE = 1240, 36, 20, 26
BOX_HEIGHT, BETWEEN = 84, 50
CHARACTER = 6.1

Edges = dict[str, dict[str, bool]]


@dataclass
class Code:
    """What the code says: layers from high to low, edges (True where the import happens when the module is loaded), captions."""

    package: str
    layers: list[list[str]]
    beside: list[str]
    edges: Edges
    captions: dict[str, str]

    @property
    def names(self) -> list[str]:
        """Every part, high to low, those without a layer last."""
        return [name for layer in self.layers for name in layer] + self.beside


def read_layers(pyproject: Path) -> tuple[str, list[list[str]]]:
    """The root package and its layers, as the import contract declares them; `|` and `:` stand between siblings."""
    settings = tomllib.loads(pyproject.read_text())["tool"]["importlinter"]
    package = str(settings.get("root_package") or settings["root_packages"][0])
    declared = next(contract["layers"] for contract in settings["contracts"] if contract["type"] == "layers")
    rows = [[part.strip(" ()").rsplit(".", 1)[-1] for part in re.split(r"[|:]", row)] for row in declared]
    return package, rows


def read_code(root: Path = ROOT) -> Code:
    """Layers, imports and captions of the package beside pyproject.toml."""
    package, layers = read_layers(root / "pyproject.toml")
    edges: Edges = {}
    captions = {}
    for path in sorted((root / package).rglob("*.py")):
        parts = path.relative_to(root / package).parts
        part = parts[0].removesuffix(".py")
        if part == "__init__":
            continue
        tree = ast.parse(path.read_text())
        if len(parts) == 1 or parts[1:] == ("__init__.py",):
            captions[part] = _caption(tree, part)
        found = edges.setdefault(part, {})
        for target, at_load in _imports(tree, package):
            if target != part:
                found[target] = found.get(target, False) or at_load
    known = set(captions)
    edges = {part: {target: how for target, how in found.items() if target in known} for part, found in edges.items()}
    layers = [[name for name in layer if name in known] for layer in layers]
    placed = {name for layer in layers for name in layer}
    return Code(package, [layer for layer in layers if layer], sorted(known - placed), edges, captions)


def _caption(tree: ast.Module, part: str) -> str:
    """The first sentence of a docstring, without the name that stands above it."""
    text = (ast.get_docstring(tree) or "").split("\n\n")[0].replace("\n", " ").rstrip(".")
    text = re.sub(rf"^(the )?{part}s?[:,] ", "", text, flags=re.IGNORECASE)
    return (text[:1].upper() + text[1:]).replace("`", "")


def _imports(tree: ast.Module, package: str) -> list[tuple[str, bool]]:
    """The parts a module imports, and whether it does so when it is loaded; what only a type checker reads is left out."""
    found: list[tuple[str, bool]] = []

    def look(node: ast.AST, at_load: bool) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
                continue
            names: list[str] = []
            if isinstance(child, ast.Import):
                names = [alias.name for alias in child.names]
            elif isinstance(child, ast.ImportFrom) and child.module and not child.level:
                names = [f"{child.module}.{alias.name}" for alias in child.names]
            found.extend((name.split(".")[1], at_load) for name in names if name.startswith(f"{package}."))
            look(child, at_load and not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    look(tree, True)
    return found


def reduced(edges: Edges) -> list[tuple[str, str]]:
    """The arrows that no path of others implies: what they reach is what all of them reach."""

    def reached(start: str, without: str) -> set[str]:
        seen: set[str] = set()
        todo = [target for target in edges.get(start, {}) if target != without]
        while todo:
            here = todo.pop()
            if here not in seen:
                seen.add(here)
                todo += edges.get(here, {})
        return seen

    return sorted((a, b) for a, found in edges.items() for b in found if b not in reached(a, b))


@dataclass
class Node:
    """A box, or the place where a long arrow passes a row (`name` is then empty)."""

    row: int
    name: str = ""
    width: float = LANE
    x: float = 0.0
    up: list["Node"] = field(default_factory=list)
    down: list["Node"] = field(default_factory=list)


def place(code: Code) -> tuple[list[list[Node]], list[list[Node]]]:
    """Rows of boxes and lanes, and each arrow as the nodes it runs through."""
    row_of = {name: number for number, layer in enumerate(code.layers) for name in layer}
    widest = max(len(layer) for layer in code.layers)
    rows: list[list[Node]] = [
        [Node(number, name, _box_width(len(layer), widest)) for name in layer] for number, layer in enumerate(code.layers)
    ]
    boxes = {node.name: node for row in rows for node in row}
    chains = []
    for high, low in reduced(code.edges):
        if high not in row_of or low not in row_of or row_of[high] >= row_of[low]:
            continue
        lanes = [Node(number) for number in range(row_of[high] + 1, row_of[low])]
        for lane in lanes:
            rows[lane.row].append(lane)
        chain = [boxes[high], *lanes, boxes[low]]
        for above, below in pairwise(chain):
            above.down.append(below)
            below.up.append(above)
        chains.append(chain)
    _spread(rows)
    best, fewest = [list(row) for row in rows], _crossings(rows)
    for sweep in range(16):
        downwards = sweep % 2 == 0
        for row in rows if downwards else rows[::-1]:
            wanted = {id(n): _middle(n.up if downwards else n.down, n.x) for n in row}
            row.sort(key=lambda n: (wanted[id(n)], n.name))
        _spread(rows)
        _exchange(rows)
        if (found := _crossings(rows)) < fewest:
            best, fewest = [list(row) for row in rows], found
    rows = best
    _spread(rows)
    for _ in range(60):
        for row in rows:
            _pull(row)
    return rows, chains


def _box_width(siblings: int, widest: int) -> float:
    room = WIDTH - 2 * MARGIN
    return min(380.0, (room - 3 * LANE - (siblings - 1) * GAP) / max(siblings, min(widest, 3)))


def _middle(nodes: list[Node], otherwise: float) -> float:
    return sum(node.x for node in nodes) / len(nodes) if nodes else otherwise


def _crossings(rows: list[list[Node]]) -> int:
    """How many pairs of arrows cross between neighbouring rows."""
    at = {id(node): index for row in rows for index, node in enumerate(row)}
    count = 0
    for row in rows:
        ends = [(at[id(node)], at[id(below)]) for node in row for below in node.down]
        count += sum((a - c) * (b - d) < 0 for index, (a, b) in enumerate(ends) for c, d in ends[:index])
    return count


def _exchange(rows: list[list[Node]]) -> None:
    """Neighbours in a row change places as long as that leaves fewer crossings."""
    fewest = _crossings(rows)
    for row in rows * 3:
        for left in range(len(row) - 1):
            row[left], row[left + 1] = row[left + 1], row[left]
            found = _crossings(rows)
            if found < fewest:
                fewest = found
            else:
                row[left], row[left + 1] = row[left + 1], row[left]


def _spread(rows: list[list[Node]]) -> None:
    """Each row centred, in its order."""
    for row in rows:
        x = (WIDTH - sum(node.width for node in row) - GAP * (len(row) - 1)) / 2
        for node in row:
            node.x = x + node.width / 2
            x += node.width + GAP


def _pull(row: list[Node]) -> None:
    """Each node nearer to its neighbours above and below, without leaving its place in the row."""
    for index, node in enumerate(row):
        half = node.width / 2
        left = row[index - 1].x + row[index - 1].width / 2 + GAP if index else MARGIN
        right = row[index + 1].x - row[index + 1].width / 2 - GAP if index + 1 < len(row) else WIDTH - MARGIN
        wanted = node.x + (_middle([*node.up, *node.down], WIDTH / 2) - node.x) * (0.5 if node.name == "" else 0.25)
        node.x = min(max(wanted, left + half), right - half)


def _hue(row: int, rows: int) -> str:
    share = row / max(1, rows - 1)
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(TOP, GROUND, strict=True))


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _port(node: Node, others: list[Node], other: Node) -> float:
    """Where an arrow leaves or enters a box: spread over its middle part, in the order of the other ends."""
    if not node.name:
        return node.x
    ordered = sorted(range(len(others)), key=lambda at: (others[at].x, at))
    at = next(position for position, index in enumerate(ordered) if others[index] is other)
    return node.x + (at - (len(ordered) - 1) / 2) * min(34.0, node.width * 0.6 / max(1, len(ordered)))


def _svg(width: float, height: float, title: str, body: list[str], style: str) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_number(width)} {_number(height)}" role="img" '
        f'aria-label="{escape(title)}" font-family="{escape(FONT)}">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", f"<style>{style}</style>", *body, "</svg>"]) + "\n"


def draw_layers(code: Code) -> str:
    """The house: a row of boxes for each layer, an arrow for each import that others do not imply."""
    rows, chains = place(code)
    top = 74
    body = [
        f'<rect width="{WIDTH}" height="100%" rx="14" fill="{CARD}"/>',
        f'<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0 0.5 L7.5 4 L0 7.5 Z" fill="{LINE}"/></marker></defs>',
        f'<text class="title" x="{MARGIN}" y="36">{escape(code.package)}, layer by layer</text>',
        f'<text class="note" x="{MARGIN}" y="57">An arrow goes from a package to one that it imports. '
        "An import that other arrows imply is not drawn; every one is in the table of imports.</text>",
    ]
    y_of = [top + number * (BOX_HEIGHT + BETWEEN) for number in range(len(rows))]
    for chain in chains:
        body.append(f'<path class="arrow" d="{_path(chain, y_of)}" marker-end="url(#head)"/>')
    for number, row in enumerate(rows):
        for node in row:
            if node.name:
                body += _box(code, node, y_of[number], _hue(number, len(rows)))
    bottom = y_of[-1] + BOX_HEIGHT
    if code.beside:
        told = f"Beside the layers: {', '.join(code.beside)}"
        body.append(f'<text class="note" x="{MARGIN}" y="{_number(bottom + 34)}">{escape(told)}</text>')
        bottom += 26
    style = (
        f".title{{font-size:19px;font-weight:650;fill:{INK}}}.note{{font-size:12.5px;fill:{SOFT}}}"
        f".name{{font-size:15px;font-weight:650;fill:{INK}}}.caption{{font-size:11.5px;fill:{SOFT}}}"
        f".arrow{{fill:none;stroke:{LINE};stroke-width:1.6}}"
    )
    return _svg(WIDTH, bottom + MARGIN, f"{code.package}: packages by layer and what they import", body, style)


def _path(chain: list[Node], y_of: list[float]) -> str:
    steps: list[str] = []
    for above, below in pairwise(chain):
        x1, x2 = _port(above, above.down, below), _port(below, below.up, above)
        y1, y2 = y_of[above.row] + BOX_HEIGHT, y_of[below.row]
        if not steps:
            steps.append(f"M{_number(x1)} {_number(y1)}")
        bend = (y2 - y1) * 0.55
        end = y2 - 3 if below.name else y2
        steps.append(f"C{_number(x1)} {_number(y1 + bend)} {_number(x2)} {_number(y2 - bend)} {_number(x2)} {_number(end)}")
        if not below.name:
            steps.append(f"V{_number(y2 + BOX_HEIGHT)}")
    return " ".join(steps)


def _box(code: Code, node: Node, y: float, hue: str) -> list[str]:
    x = node.x - node.width / 2
    lines = textwrap.wrap(code.captions[node.name], int((node.width - 34) / CHARACTER))
    if len(lines) > 3:
        lines = [*lines[:2], lines[2].rstrip(",;:") + " ..."]
    left = _number(x + 20)
    return [
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(node.width)}" height="{BOX_HEIGHT}" rx="9" fill="{CARD}"/>',
        f'<rect x="{_number(x)}" y="{_number(y)}" width="{_number(node.width)}" height="{BOX_HEIGHT}" rx="9" '
        f'fill="{hue}" fill-opacity="0.07" stroke="{hue}" stroke-opacity="0.55" stroke-width="1.2"/>',
        f'<rect x="{_number(x)}" y="{_number(y + 10)}" width="4" height="{BOX_HEIGHT - 20}" rx="2" fill="{hue}"/>',
        f'<text class="name" x="{left}" y="{_number(y + 24)}">{escape(node.name)}</text>',
        *(
            f'<text class="caption" x="{left}" y="{_number(y + 42 + 14.5 * at)}">{escape(line)}</text>'
            for at, line in enumerate(lines)
        ),
    ]


def draw_imports(code: Code) -> str:
    """The table of imports: a row imports what is marked in it; below the diagonal nothing may be."""
    names, cell, left, top = code.names, 30, 150, 172
    width, height = left + cell * len(names) + 330, top + cell * len(names) + 42
    layer_of = {name: number for number, layer in enumerate(code.layers) for name in layer}
    hues = {name: _hue(number, len(code.layers)) for name, number in layer_of.items()}
    body = [
        f'<rect width="100%" height="100%" rx="14" fill="{CARD}"/>',
        f'<text class="title" x="{MARGIN}" y="36">Who imports whom</text>',
    ]
    for at, name in enumerate(names):
        x, y, hue = left + cell * at, top + cell * at, hues.get(name, SOFT)
        if at % 2 == 0:
            body.append(
                f'<rect x="{left}" y="{y}" width="{cell * len(names)}" height="{cell}" fill="{LINE}" fill-opacity="0.09"/>'
            )
        body += [
            f'<text class="row" x="{left - 10}" y="{y + 20}" text-anchor="end" fill="{hue}">{escape(name)}</text>',
            f'<text class="row" transform="translate({x + 20} {top - 9}) rotate(-52)" fill="{hue}">{escape(name)}</text>',
            f'<rect x="{x + 9}" y="{y + 9}" width="12" height="12" rx="2" fill="{LINE}" fill-opacity="0.35"/>',
        ]
    whole = cell * len(names)
    for layer in code.layers[1:]:
        edge = cell * names.index(layer[0])
        body.append(f'<path class="rule" d="M{left} {top + edge}h{whole}M{left + edge} {top}v{whole}"/>')
    for row, name in enumerate(names):
        for target, at_load in sorted(code.edges.get(name, {}).items()):
            hue = hues.get(target, SOFT)
            x, y = left + cell * names.index(target) + cell / 2, top + cell * row + cell / 2
            look = f'fill="{hue}"' if at_load else f'fill="{CARD}" stroke="{hue}" stroke-width="2"'
            body.append(
                f'<circle cx="{_number(x)}" cy="{_number(y)}" r="7" {look}><title>{escape(name)} imports {escape(target)}</title></circle>'
            )
    key, at = left + cell * len(names) + 34, top + 12
    body += [
        f'<circle cx="{key}" cy="{at}" r="7" fill="{INK}"/><text class="note" x="{key + 16}" y="{at + 4}">when the module is loaded</text>',
        f'<circle cx="{key}" cy="{at + 28}" r="7" fill="{CARD}" stroke="{INK}" stroke-width="2"/>'
        f'<text class="note" x="{key + 16}" y="{at + 32}">only inside a function, on use</text>',
        f'<text class="note" x="{key - 7}" y="{at + 66}">A row imports what it marks.</text>',
        f'<text class="note" x="{key - 7}" y="{at + 84}">Lines divide the layers: nothing is</text>',
        f'<text class="note" x="{key - 7}" y="{at + 102}">marked left of the grey diagonal,</text>',
        f'<text class="note" x="{key - 7}" y="{at + 120}">save by what has no layer.</text>',
    ]
    style = (
        f".title{{font-size:19px;font-weight:650;fill:{INK}}}.note{{font-size:12.5px;fill:{SOFT}}}"
        f".row{{font-size:13px;font-weight:600}}.rule{{stroke:{LINE};stroke-opacity:0.55;fill:none}}"
    )
    return _svg(width, height, f"{code.package}: the table of imports", body, style)


def drawings(code: Code, root: Path = ROOT) -> dict[Path, str]:
    """The pictures by where they lie."""
    return {root / "docs/architecture.svg": draw_layers(code), root / "docs/imports.svg": draw_imports(code)}


if __name__ == "__main__":
    for path, text in drawings(read_code()).items():
        path.write_text(text)
        sys.stdout.write(f"wrote {path.relative_to(ROOT)}\n")
