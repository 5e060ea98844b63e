"""Pictures are those of matplotlib's own way of saving them, without drawing twice, in few colours."""

import io
from typing import Any

import numpy as np

from orchestrai.core.picture import png


def _paint(figure: Any) -> None:
    axes = figure.add_subplot()
    axes.barh(["a feature with a rather long name", "b"], [0.3, 0.7])
    axes.set(xlabel="share", title="What the candidate looks at")


def _pixels(picture: bytes) -> Any:
    from PIL import Image

    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), dtype=np.int16)


def test_a_picture_is_what_savefig_gives_but_for_shades_in_half_the_bytes() -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure, sink = Figure(figsize=(5.2, 4.0), dpi=90, layout="tight"), io.BytesIO()
    FigureCanvasAgg(figure)
    _paint(figure)
    figure.savefig(sink, format="png", metadata={"Software": None})
    ours = png(_paint, (5.2, 4.0), 90)
    assert ours == png(_paint, (5.2, 4.0), 90)
    assert len(ours) < len(sink.getvalue()) / 2
    apart = np.abs(_pixels(ours) - _pixels(sink.getvalue()))
    assert apart.mean() < 1 and apart.max() < 64
