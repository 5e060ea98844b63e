"""The text that a scrape gives is what Prometheus reads, whatever stands in a label."""

import math
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrai.observability.metrics.exposition import Figures, Metric, exposition
from orchestrai_tests.observability.metrics.prometheus_text import read_text

ROWS = Metric("rows", "Rows of\nan asset \\ all.", ("asset",))
PLAIN = Metric("plain", "No label.")
TEXT = st.text(alphabet=st.characters(exclude_categories=("Cs",)), max_size=30)


@settings(max_examples=40)
@given(st.dictionaries(TEXT | st.sampled_from(["a\nb", 'a"b', "a\\", '\\"\n']), st.floats(allow_nan=False), max_size=8))
def test_every_label_and_value_is_read_back(values: dict[str, float]) -> None:
    figures = Figures()
    figures.put(PLAIN, 1)
    for label, value in values.items():
        figures.put(ROWS, value, label)
    read = read_text(exposition(figures, (ROWS, PLAIN)))
    assert read["plain"] == {(): 1.0}
    assert {labels[0][1]: value for labels, value in read.get("rows", {}).items()} == values


def test_what_is_no_number_is_told_as_such_and_a_metric_without_samples_is_absent() -> None:
    figures = Figures()
    figures.put(ROWS, math.nan, "x")
    text = exposition(figures, (ROWS, PLAIN))
    assert math.isnan(read_text(text)["rows"][(("asset", "x"),)]) and "plain" not in text
    with pytest.raises(ValueError, match="labels"):
        figures.put(ROWS, 1)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed: install the package prometheus")
def test_promtool_finds_nothing_wrong() -> None:
    figures = Figures()
    figures.put(ROWS, 12.5, 'a "b" \\ c')
    text = exposition(figures, (ROWS,))
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
