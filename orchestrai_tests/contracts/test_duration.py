"""One reading of durations for every declaration."""

from datetime import timedelta

import pytest
from pydantic import TypeAdapter

from orchestrai.core.time import declared_duration, parse_duration
from orchestrai.errors import ConfigError
from orchestrai.features.spec import Duration as FeatureDuration
from orchestrai.models.estimators.declared import Duration as ModelDuration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("26h", 93_600), ("30d", 2_592_000), ("2 w", 1_209_600), ("0d", 0)]
)
def test_a_duration_means_the_same_wherever_it_is_declared(text: str, seconds: int) -> None:
    found = [
        declared_duration(text),
        *(TypeAdapter(kind).validate_python(text) for kind in ((FeatureDuration,) if seconds else ()) + (ModelDuration,)),
    ]
    assert set(found) == {timedelta(seconds=seconds)}
    if seconds:
        assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "5", "m", "-1d", "1.5h", "1y", "P1D", "1d2h", "99999999999d"])
def test_what_is_no_duration_is_refused_wherever_it_is_declared(text: str) -> None:
    with pytest.raises(ConfigError, match="90s, 15m, 26h"):
        parse_duration(text)
    for kind in (FeatureDuration, ModelDuration):
        with pytest.raises(ValueError, match="90s, 15m, 26h"):
            TypeAdapter(kind).validate_python(text)
