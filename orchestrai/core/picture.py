"""A painted figure as PNG; equal paintings give equal bytes."""

import io
from collections.abc import Callable
from typing import Any


def png(paint: Callable[[Any], None], size: tuple[float, float], dpi: int) -> bytes:
    """What `paint` draws on a matplotlib Figure of `size` inches.

    `Figure.savefig` lays out and draws twice, which is most of its time; here each is done once.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, dpi=dpi, layout="constrained")
    canvas: Any = FigureCanvasAgg(figure)
    paint(figure)
    layout = figure.get_layout_engine()
    if layout is not None:
        layout.execute(figure)
    figure.set_layout_engine("none")
    sink = io.BytesIO()
    # without the library's name and version the bytes depend on the picture alone
    canvas.print_png(sink, metadata={"Software": None})
    return sink.getvalue()
