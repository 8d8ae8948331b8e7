"""The request object of a Solana charge: what is read, and what is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinslot.errors import UsageError
from coinslot.methods.solana.reading import read_recorded
from coinslot.methods.solana.terms import Leg
from coinslot.methods.solana.tokens import PYUSD, USDC, USDC_DEVNET

RECIPIENT = "7xKXtg2CW87d97TXJSDpbD5jBkheTqA83TZRuJosgAsU"
PLATFORM = "3pF8Kg2aHbNvJkLMwEqR7YtDxZ5sGhJn4UV6mWcXrT9A"
SPONSOR = "Gh9ZwEmdLJ8DscKNTkTqPbNwLNNBjuSzaG9Vp2KGtKJr"
TOKEN_PROGRAM = "TokenkegQfeZyiNwAJbNbGKPFXCWuBvf9Ss623VQ5DA"


def token(**details: Any) -> dict[str, Any]:
    """A request in USDC with these details."""
    base: dict[str, Any] = {"network": "mainnet", "decimals": 6}
    return {
        "amount": "1050000",
        "currency": USDC,
        "recipient": RECIPIENT,
        "methodDetails": {name: value for name, value in (base | details).items() if value is not None},
    }


def sol(**details: Any) -> dict[str, Any]:
    """The document's own example in SOL with these details."""
    return {"amount": "10000000", "currency": "sol", "recipient": RECIPIENT, "methodDetails": details}


def split(**changes: Any) -> dict[str, Any]:
    """A share of the platform's."""
    return {"recipient": PLATFORM, "amount": "50000"} | changes


@pytest.mark.spec("SCHG-008", "SCHG-012")
def test_the_documents_example_in_sol_is_read() -> None:
    """Mainnet is what an absent network means, and SOL has nine digits."""
    terms = read_recorded(sol())
    assert (terms.cluster, terms.network) == ("mainnet", "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp")
    assert (terms.asset.id, terms.asset.decimals, terms.asset.peg) == ("sol", 9, None)
    assert terms.legs == (Leg(RECIPIENT, 10_000_000),)
    assert terms.native


@pytest.mark.spec("SCHG-009", "SCHG-025", "SCHG-027", "SCHG-028", "SCHG-034")
def test_the_documents_example_with_splits_is_read() -> None:
    """The recipient gets what the splits leave, and each payee is named."""
    request = token(
        feePayer=True,
        feePayerKey=SPONSOR,
        tokenProgram=TOKEN_PROGRAM,
        splits=[split(memo="platform fee", ataCreationRequired=True)],
    )
    terms = read_recorded(request)
    assert terms.legs == (Leg(RECIPIENT, 1_000_000), Leg(PLATFORM, 50_000, "platform fee", True))
    assert [payee.amount_units for payee in terms.payees] == [1_000_000, 50_000]
    assert (terms.fee_payer, terms.token_program, terms.asset.symbol) == (SPONSOR, TOKEN_PROGRAM, "USDC")


def test_what_is_optional_is_read() -> None:
    """Hints and the external id."""
    request = token(recentBlockhash=USDC, recentSlot="17", network="devnet") | {
        "externalId": "order-1",
        "description": "d" * 256,
        "currency": USDC_DEVNET,
    }
    terms = read_recorded(request)
    assert (terms.blockhash, terms.slot, terms.external_id) == (USDC, 17, "order-1")
    assert terms.asset.key == f"solana:EtWTRABZaYq6iMfeYKouRu166VU2xqa1/{USDC_DEVNET}"


@pytest.mark.spec("SCHG-037")
def test_two_splits_of_one_payee_stay_two() -> None:
    """Each is a leg of its own."""
    terms = read_recorded(token(splits=[split(), split()]))
    assert [leg.recipient for leg in terms.legs] == [RECIPIENT, PLATFORM, PLATFORM]


def changed(**members: Any) -> dict[str, Any]:
    """A token request with members replaced, or taken out (None)."""
    return {name: value for name, value in (token() | members).items() if value is not None}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no amount": (changed(amount=None), "amount"),
    "a number": (changed(amount=1050000), "amount"),
    "nothing": (changed(amount="0"), "amount is zero"),
    "more than u64": (changed(amount=str(2**64)), "2\\*\\*64"),
    "a fraction": (changed(amount="1.5"), "amount"),
    "a negative amount": (changed(amount="-1"), "amount"),
    "no currency": (changed(currency=None), "currency"),
    "SOL in capitals": (changed(currency="SOL"), "currency"),
    "a symbol": (changed(currency="USDC"), "currency"),
    "a long currency": (changed(currency="1" * 129), "currency"),
    "no recipient": (changed(recipient=None), "recipient"),
    "no base58": (changed(recipient="9aE3Fg7HjKLmNpQr5TuVwXyZ2AbCdEf8GhIjKlMnOp1R"), "recipient"),
    "a long description": (changed(description="d" * 257), "description"),
    "a long external id": (changed(externalId="e" * 567), "externalId"),
    "a longer external id in bytes": (changed(externalId="ü" * 284), "externalId"),
    "half a character": (changed(externalId="\ud800"), "externalId"),
    "no details": (changed(methodDetails=[]), "methodDetails"),
    "an unknown network": (token(network="mainnet-beta"), "network"),
    "no decimals": (token(decimals=None), "decimals"),
    "too many decimals": (token(decimals=10), "decimals"),
    "decimals as text": (token(decimals="6"), "decimals"),
    "decimals as a flag": (token(decimals=True), "decimals"),
    "decimals of SOL": (sol(decimals=9), "for tokens"),
    "another token program": (token(tokenProgram=RECIPIENT), "tokenProgram"),
    "a token program of SOL": (sol(tokenProgram=TOKEN_PROGRAM), "for tokens"),
    "a sponsor without a key": (token(feePayer=True), "feePayerKey"),
    "a key without a sponsor": (token(feePayerKey=SPONSOR), "without feePayer"),
    "a key of no sponsor": (token(feePayer=False, feePayerKey=SPONSOR), "without feePayer"),
    "a sponsor in words": (token(feePayer="true", feePayerKey=SPONSOR), "feePayer"),
    "no splits at all": (token(splits=[]), "splits"),
    "nine splits": (token(splits=[split(amount="1")] * 9), "splits"),
    "a split without a payee": (token(splits=[{"amount": "1"}]), "splits.recipient"),
    "a split of nothing": (token(splits=[split(amount="0")]), "splits.amount"),
    "a split that is a text": (token(splits=["x"]), "splits"),
    "a split with a long memo": (token(splits=[split(memo="m" * 567)]), "memo"),
    "splits of everything": (token(splits=[split(amount="1050000")]), "leave nothing"),
    "splits of more": (token(splits=[split(amount="1050001")]), "leave nothing"),
    "an account for SOL": (sol(splits=[split(ataCreationRequired=True)]), "for tokens"),
    "a flag in words": (token(splits=[split(ataCreationRequired="yes")]), "ataCreationRequired"),
    "no blockhash": (token(recentBlockhash="x"), "recentBlockhash"),
    "confidential": (token(confidential=True), "not supported"),
    "confidential SOL": (sol(confidential=True), "not supported"),
    "confidential with splits": (token(confidential=True, splits=[split()]), "not supported"),
    "confidential in words": (token(confidential="yes"), "confidential"),
    "an auditor": (token(auditorElgamalPubkey="AAAA"), "auditorElgamalPubkey"),
    "a hidden recipient": (token(recipientElgamalPubkey="AAAA"), "recipientElgamalPubkey"),
}


@pytest.mark.spec("SCHG-006", "SCHG-007", "SCHG-008", "SCHG-009", "SCHG-010", "SCHG-011", "SCHG-012", "SCHG-013")
@pytest.mark.spec("SCHG-015", "SCHG-017", "SCHG-018", "SCHG-019", "SCHG-023", "SCHG-024", "SCHG-025", "SCHG-026")
@pytest.mark.spec("SCHG-027", "SCHG-028", "SCHG-029", "SCHG-031", "SCHG-033", "SCHG-034", "SCHG-035", "SCHG-041")
@pytest.mark.spec("SCHG-043", "SCHG-044", "SCHG-046", "SCHG-049", "SCHG-084", "SCHG-091", "SCHG-092", "SCHG-093")
@pytest.mark.spec("SCHG-103", "SCHG-104")
@pytest.mark.guard("T20")
@pytest.mark.parametrize("name", WRONG)
def test_what_can_not_be_right_is_refused_by_name(name: str) -> None:
    """Nothing is guessed, rounded or passed over."""
    request, word = WRONG[name]
    with pytest.raises(UsageError, match=word):
        read_recorded(request)


@given(
    noise=st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    ),
    where=st.sampled_from(
        "amount currency recipient externalId description methodDetails network decimals tokenProgram feePayer "
        "feePayerKey splits recentBlockhash recentSlot confidential".split()
    ),
)
@settings(max_examples=200)
def test_any_json_is_read_or_refused(noise: object, where: str) -> None:
    """No other error leaves the reader."""
    request = token()
    holder: dict[str, Any] = (
        request if where in request or where in ("externalId", "description") else request["methodDetails"]
    )
    holder[where] = noise
    try:
        terms = read_recorded(request)
    except UsageError:
        return
    assert sum(leg.amount_units for leg in terms.legs) == terms.amount_units


@pytest.mark.parametrize("make", [token, sol])
def test_members_that_are_not_known_are_passed_over(make: Callable[..., dict[str, Any]]) -> None:
    """As JSON wants it."""
    request = make(reference="x") | {"more": 1}
    assert read_recorded(request).legs


def test_a_token_that_nobody_vouches_for_has_the_servers_decimals_and_no_peg() -> None:
    """In lists and reports only; a wallet never pays it."""
    request = token() | {"currency": RECIPIENT}
    asset = read_recorded(request).asset
    assert (asset.decimals, asset.peg, asset.symbol) == (6, None, "")
    assert read_recorded(token() | {"currency": PYUSD}).asset.peg == "USD"
