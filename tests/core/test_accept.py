"""Accept-Payment: what the client prefers, and what the server then offers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.core.accept import MAX_RANGES, Range, arrange, format_accept, parse_accept, preference
from coinslot.core.header import MAX_FIELD_BYTES
from coinslot.errors import MalformedHeader, UsageError

METHODS = st.sampled_from(["toy", "coin", "card"])
INTENTS = st.sampled_from(["charge", "session", "charge-v2"])
OFFERS = st.lists(st.builds(Range, METHODS, INTENTS), max_size=6, unique=True)
RANGES = st.lists(st.builds(Range, METHODS | st.just("*"), INTENTS | st.just("*"), st.integers(0, 1000)), max_size=6)


def offers(text: str) -> list[Range]:
    """Offers from a short text."""
    return [Range(method, intent) for method, intent in (each.split("/") for each in text.split())]


def names(ranges: list[Range]) -> str:
    """The short text of offers."""
    return " ".join(f"{each.method}/{each.intent}" for each in ranges)


@given(RANGES)
def test_what_is_written_is_read(ranges: list[Range]) -> None:
    """Weights are exact thousandths on both sides."""
    assert parse_accept(format_accept(ranges)) == ranges


@given(st.text(max_size=40) | st.text(st.sampled_from("toy/*;q=0.1, \t"), max_size=40))
def test_arbitrary_text_is_read_or_malformed(text: str) -> None:
    """Nothing but MalformedHeader comes out; a server may then ignore the field."""
    try:
        parse_accept(text)
    except MalformedHeader:
        return


@pytest.mark.parametrize(
    ("field", "ranges"),
    [
        ("", []),
        (" , ,", []),
        ("toy/charge", [Range("toy", "charge")]),
        ("toy/*;q=0.5,*/*;q=0", [Range("toy", "*", 500), Range("*", "*", 0)]),
        ("toy/charge ; Q=1.000", [Range("toy", "charge")]),
        ("toy/charge;q=0.", [Range("toy", "charge", 0)]),
        ("toy/charge;q=0.07", [Range("toy", "charge", 70)]),
    ],
)
def test_weights_by_hand(field: str, ranges: list[Range]) -> None:
    """No weight means 1, and 0 means never."""
    assert parse_accept(field) == ranges


@pytest.mark.parametrize(
    "field",
    ["toy", "toy/", "/charge", "Toy/charge", "toy/charge;q=2", "toy/charge;q=1.001", "toy/charge;q=0.1234",
     "toy/charge;q=-1", "toy/charge;level=1", "toy/charge q=1", "to y/charge", "toy/charge\r\n", "tøy/charge"],
)  # fmt: skip
def test_what_can_t_be_read_is_malformed(field: str) -> None:
    """The whole field, so that no half of a preference is honoured."""
    with pytest.raises(MalformedHeader):
        parse_accept(f"coin/charge, {field}")


@pytest.mark.guard("T41")
def test_the_field_is_bounded() -> None:
    """By its length before anything is read, and by its ranges."""
    assert len(parse_accept(",".join(["toy/*"] * MAX_RANGES))) == MAX_RANGES
    with pytest.raises(MalformedHeader):
        parse_accept(",".join(["toy/*"] * (MAX_RANGES + 1)))

    class Unread(str):
        __slots__ = ()

        def split(self, *_: object) -> list[str]:
            raise AssertionError("read")

    with pytest.raises(MalformedHeader, match="long"):
        parse_accept(Unread("a" * (MAX_FIELD_BYTES + 1)))


@pytest.mark.spec("CORE-052", "CORE-053", "CORE-054", "CORE-055", "CORE-056")
@given(RANGES, OFFERS)
def test_offers_are_filtered_and_ordered(ranges: list[Range], ours: list[Range]) -> None:
    """Exactly the acceptable ones, by weight, equals in our order; all of ours if none is acceptable."""
    weights = {offer: preference(ranges, offer) for offer in ours}
    expected = sorted((offer for offer in ours if weights[offer]), key=lambda offer: -weights[offer])
    assert arrange(ranges, ours) == (expected or ours)


@pytest.mark.spec("CORE-056", "CORE-053", "CORE-118", "CORE-119", "CORE-120")
@pytest.mark.parametrize(
    ("field", "ours", "then"),
    [
        ("toy/charge, toy/session, card/charge;q=0.5, coin/charge;q=0.3",
         "coin/charge card/charge toy/charge toy/session", "toy/charge toy/session card/charge coin/charge"),
        ("toy/*, coin/*;q=0.6, */session;q=0.3",
         "card/session coin/charge toy/session toy/charge", "toy/session toy/charge coin/charge card/session"),
        ("toy/charge, toy/session;q=0, coin/charge", "toy/session toy/charge coin/charge card/charge",
         "toy/charge coin/charge"),
        ("*/*, toy/*;q=0, toy/charge;q=0.1", "toy/charge toy/session coin/charge", "coin/charge toy/charge"),
        ("*/charge;q=0.9, toy/*;q=0.2", "toy/charge coin/charge", "coin/charge toy/charge"),
        ("*/*;q=0", "toy/charge coin/charge", "toy/charge coin/charge"),
        ("", "toy/charge coin/charge", "toy/charge coin/charge"),
    ],
)  # fmt: skip
def test_the_most_specific_range_counts(field: str, ours: str, then: str) -> None:
    """An exact name beats a named method, which beats a named intent, which beats anything."""
    assert names(arrange(parse_accept(field), offers(ours))) == then


@pytest.mark.parametrize(
    ("method", "intent", "weight"),
    [("Toy", "*", 1000), ("toy", "a b", 1000), ("", "", 1), ("*", "*", 1001), ("*", "*", -1)],
)
def test_impossible_ranges_can_t_be_made(method: str, intent: str, weight: int) -> None:
    """So format_accept never writes what parse_accept would refuse."""
    with pytest.raises(UsageError):
        Range(method, intent, weight)
