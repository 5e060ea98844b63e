"""A painted figure as PNG; equal paintings give equal bytes."""

import io
from collections.abc import Callable
from typing import Any

COLOURS = 64


def png(paint: Callable[[Any], None], size: tuple[float, float], dpi: int) -> bytes:
    """What `paint` draws on a matplotlib Figure of `size` inches.

    `Figure.savefig` lays out and draws twice, which is most of its time; here each is done once. A tight layout costs
    two thirds of a constrained one, and half of that where it is given no rectangle, which it would work out anew within.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import TightLayoutEngine
    from PIL import Image

    figure = Figure(figsize=size, dpi=dpi)
    canvas: Any = FigureCanvasAgg(figure)
    paint(figure)
    once: Any = None
    TightLayoutEngine(rect=once).execute(figure)
    canvas.draw()
    # lines and letters have few colours: by a palette the file is a quarter, and Dagster keeps each picture four times
    drawn = Image.frombuffer("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
    few = drawn.quantize(COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    sink = io.BytesIO()
    few.save(sink, "PNG")
    return sink.getvalue()
