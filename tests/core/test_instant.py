"""Times as they travel: RFC 3339 with a zone, or nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.instant import format_instant, parse_instant
from coinslot.errors import MalformedHeader

ZONES = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
TIMES = st.datetimes(min_value=datetime(1970, 1, 2), max_value=datetime(2200, 1, 1), timezones=ZONES)  # noqa: DTZ001


@given(st.integers(0, 4102444800))
def test_whole_seconds_round_trip(at_s: int) -> None:
    """What is written is read as the same second, and a part of a second is dropped, never added."""
    assert parse_instant(format_instant(at_s)) == at_s
    assert format_instant(at_s + 0.999) == format_instant(at_s)


@pytest.mark.guard("T10")
@given(TIMES)
def test_any_zone_is_the_same_moment(when: datetime) -> None:
    """Offsets count, and so do fractions of a second."""
    assert abs(parse_instant(when.isoformat()) - when.timestamp()) < 1e-5
    assert abs(parse_instant(when.astimezone(UTC).isoformat().replace("+00:00", "z")) - when.timestamp()) < 1e-5


@pytest.mark.guard("T10")
@pytest.mark.parametrize(
    "text",
    ["2026-11-21T12:00:00", "2026-11-21 12:00:00Z", "2026-11-21T12:00Z", "2026-11-21", "20261121T120000Z",
     "2026-W47-6T12:00:00Z", "2026-02-29T12:00:00Z", "2026-11-21T24:00:01Z", "2026-11-21T12:00:60Z",
     "2026-11-21T12:00:00+25:00", "2026-11-21T12:00:00+0100", "0000-11-21T12:00:00Z", "2026-11-21T12:00:00.Z",
     "2026-11-21T12:00:00,5Z", "2026-11-21T12:00:00Z\n", " 2026-11-21T12:00:00Z", "1795262400", "never", "",
     "\uff12026-11-21T12:00:00Z"],
)  # fmt: skip
def test_a_time_that_needs_guessing_is_refused(text: str) -> None:
    """No zone, no seconds, another calendar, an impossible date: nothing is assumed."""
    with pytest.raises(MalformedHeader):
        parse_instant(text)


@given(st.text(max_size=30) | st.text(st.sampled_from("0123456789-:TZ+."), max_size=30))
@pytest.mark.guard("T10")
def test_arbitrary_text_is_malformed(text: str) -> None:
    """Nothing but MalformedHeader comes out."""
    try:
        parse_instant(text)
    except MalformedHeader:
        return
    assert text[-1] in "Zz" or text[-6] in "+-"
