"""Pictures are those of matplotlib's own way of saving them, without drawing twice."""

import io
from typing import Any

from orchestrai.core.picture import png


def _paint(figure: Any) -> None:
    axes = figure.add_subplot()
    axes.barh(["a feature with a rather long name", "b"], [0.3, 0.7])
    axes.set(xlabel="share", title="What the candidate looks at")


def test_a_picture_is_byte_for_byte_what_savefig_gives() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, sink = Figure(figsize=(5.2, 4.0), dpi=90, layout="constrained"), io.BytesIO()
    FigureCanvasAgg(figure)
    _paint(figure)
    figure.savefig(sink, format="png", metadata={"Software": None})
    assert png(_paint, (5.2, 4.0), 90) == sink.getvalue() == png(_paint, (5.2, 4.0), 90)
