import math
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings_dagster.sources.times import parse_time, time_in_name

NOON = datetime(2024, 1, 31, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    [
        *("2024-01-31T12:00:00", "2024-01-31T12:00:00Z", "2024-01-31 12:00", "2024-01-31T13:00:00.000000+01:00"),
        *("20240131T120000Z", " 2024-01-31T07:00-05:00\n"),
        *(NOON.timestamp(), int(NOON.timestamp()), str(int(NOON.timestamp())), int(NOON.timestamp()) * 1000),
    ],
)
def test_a_moment_is_read_with_and_without_a_zone_and_as_seconds(value: object) -> None:
    assert parse_time(value) == NOON


@pytest.mark.parametrize("value", [None, "", "  ", "null", "NaN", math.nan])
def test_nothing_is_no_moment_and_no_error(value: object) -> None:
    assert parse_time(value) is None


@pytest.mark.parametrize(
    "value",
    [
        *("yesterday", "2024-13-01", "0001-01-01T00:00+10:00", "9999-12-31T23:59-10:00", "1799-01-01", "2024\x00"),
        *(True, [2024], {}, math.inf, -math.inf, 1e300, -1e18, 10**30, pytest.param("2" * 10**6, id="long")),
    ],
)
def test_what_is_no_time_is_an_error(value: object) -> None:
    with pytest.raises(ValueError, match=r"is no time$"):
        parse_time(value)


@pytest.mark.parametrize(
    ("name", "moment"),
    [
        ("batch_20240131_120000", NOON),
        ("20240131_120000", NOON),
        ("items_20240131_120000.json", NOON),
        ("batch_20240131_120000_5", NOON + timedelta(milliseconds=500)),
        ("batch_20240131_120000_000005", NOON + timedelta(microseconds=5)),
        ("batch_20241331_120000", None),
        ("batch_20240131_1200001", None),
        ("batch_120240131_120000", None),
        ("batch", None),
    ],
)
def test_a_name_may_be_stamped(name: str, moment: datetime | None) -> None:
    assert time_in_name(name) == moment


@given(st.datetimes(datetime(1901, 1, 1), datetime(2198, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_any_written_moment_is_read_back(moment: datetime, minutes: int) -> None:
    zoned = moment.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert parse_time(zoned.isoformat()) == zoned


@given(st.text() | st.integers() | st.floats() | st.booleans() | st.lists(st.none()))
def test_any_value_is_a_moment_nothing_or_an_error(value: object) -> None:
    try:
        found = parse_time(value)
    except ValueError:
        return
    assert found is None or found.tzinfo is UTC


@given(st.text())
def test_any_name_is_stamped_or_not(name: str) -> None:
    time_in_name(name)
