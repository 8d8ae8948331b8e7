"""Amounts: integers in base units, decimal text only at the edge, never a unit too little."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinslot.errors import UsageError
from coinslot.money import MAX_DIGITS, Asset, parse_decimal, parse_units, to_text, to_units

UNITS = st.integers(0, 10**MAX_DIGITS - 1)
DECIMALS = st.integers(0, 36)
PRICES = st.builds(
    lambda whole, part: f"{whole}.{part}" if part else str(whole),
    st.integers(0, 10**30),
    st.from_regex(r"\A[0-9]{0,40}\Z"),
)


@given(UNITS)
def test_units_round_trip(units: int) -> None:
    """Wire text of any amount that we would write is that amount."""
    assert parse_units(str(units)) == units


@pytest.mark.guard("T20")
@pytest.mark.parametrize(
    "text",
    ["", "-1", "+1", "01", "00", "1.0", "1e3", "1_000", " 1", "1 ", "1\n", "0x10", "\u0661", "1" * (MAX_DIGITS + 1),
     None, 1, True, 1.0, b"1", Decimal(1), ["1"]],
)  # fmt: skip
def test_loose_amounts_are_refused(text: Any) -> None:
    """What int() would take generously is not an amount, nor is a number where text belongs."""
    with pytest.raises(UsageError):
        parse_units(text)


@given(st.text(max_size=12) | st.text(st.sampled_from("0123456789+-_.e \n"), max_size=12))
@pytest.mark.guard("T20")
def test_arbitrary_text_is_an_amount_or_refused(text: str) -> None:
    """Accepted text is exactly how we would write the number."""
    for parse in (parse_units, parse_decimal):
        try:
            value = parse(text)
        except UsageError:
            continue
        assert format(value, "f" if isinstance(value, Decimal) else "d") == text


@pytest.mark.guard("T20")
@given(PRICES, DECIMALS)
def test_never_less_than_the_price_and_less_than_a_unit_more(price: str, decimals: int) -> None:
    """price <= charged < price + 1 unit, exactly, at any size."""
    exact = Fraction(price) * 10**decimals
    charged = to_units(parse_decimal(price), decimals)
    assert exact <= charged < exact + 1


@pytest.mark.guard("T20")
@pytest.mark.parametrize(
    ("price", "decimals", "units"),
    [
        ("0", 6, 0),
        ("0.01", 6, 10_000),
        ("0.0000001", 6, 1),
        ("1.0000001", 6, 1_000_001),
        ("0.3", 0, 1),
        ("1", 0, 1),
        ("999999999999999999999999999999.000000000000000000000000000001", 18, 10**48 - 10**18 + 1),
        ("0." + "0" * 76 + "1", 18, 1),
    ],
)
def test_prices_by_hand(price: str, decimals: int, units: int) -> None:
    """Below one unit is one unit, and no digits are lost in the middle."""
    assert to_units(parse_decimal(price), decimals) == units


@pytest.mark.guard("T20")
@pytest.mark.parametrize(
    "price",
    [0.1, True, None, "", ".5", "5.", "-1", "+1", "1e3", "1E-3", "0x1", "1_0", " 1", "1\n", "01", "NaN", "Infinity",
     "1,5", "\u0661", Decimal("NaN"), Decimal("Infinity"), Decimal(-1), Decimal("-0"), -1, 10**MAX_DIGITS,
     10**5000, Decimal("1E+999999"), Decimal("1E-999999"), Decimal(10) ** 100, b"1"],
    ids=range(30),
)  # fmt: skip
def test_loose_prices_are_refused(price: Any) -> None:
    """Floats, signs, exponents, other digits, and numbers that no chain can hold."""
    with pytest.raises(UsageError):
        parse_decimal(price)


def test_prices_as_people_write_them() -> None:
    """Text, int and Decimal mean the same."""
    assert parse_decimal("0.01") == parse_decimal(Decimal("0.01")) == Decimal("0.01")
    assert parse_decimal(Decimal("1E-2")) == Decimal("0.01")
    assert parse_decimal(5) == parse_decimal("5") == parse_decimal(Decimal(5)) == 5


@given(st.integers(-(10**60), 10**60), DECIMALS)
def test_text_is_exact(units: int, decimals: int) -> None:
    """Decimal text of base units is the very same amount, without needless zeros."""
    text = to_text(units, decimals)
    assert Fraction(text) * 10**decimals == units
    assert "." not in text or text[-1] != "0"
    if units >= 0:
        assert to_units(parse_decimal(text), decimals) == units


def test_text_for_people() -> None:
    """With the symbol where it is known, and honestly in base units where the decimals are not."""
    usd = Asset("eip155:42431", "0x20c0000000000000000000000000000000000000", 6, "pathUSD", "USD")
    assert usd.text(10_000) == "0.01 pathUSD"
    assert usd.text(-2_500_000) == "-2.5 pathUSD"
    assert usd.text(0) == "0 pathUSD"
    assert usd.key == "eip155:42431/0x20c0000000000000000000000000000000000000"
    assert Asset("n", "0xab").text(7) == "7 base units of 0xab"
