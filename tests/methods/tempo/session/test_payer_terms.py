"""What a payer of sessions takes on: its own chain, known escrows and tokens, and what its settings say."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.receipt import Receipt
from coinslot.errors import ConfigError, MalformedHeader, NoPayableOffer, UsageError
from coinslot.intents.acts import Act, Balance, Held
from coinslot.intents.dry import NeedVoucher
from coinslot.method import pays_sessions
from coinslot.methods.tempo.session.channel import StreamChannel
from coinslot.methods.tempo.session.escrow import V1, V2, Escrow
from coinslot.methods.tempo.session.method import SESSIONS
from coinslot.methods.tempo.session.payload import VoucherPayload, read_payload
from coinslot.methods.tempo.session.receipt import SessionReceipt
from coinslot.methods.tempo.session.record import read_record, record
from coinslot.methods.tempo.session.terms import write_session_request
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.settings import Wallet
from coinslot.methods.tempo.tokens import Token
from support.tempochannel import BOTH, E1, E2, KEY, OPERATOR, OTHER_KEY, PATH, PAYEE, SALT, asset_of, descriptor, terms
from support.temposession import challenge_of, offline_payer
from support.temposhop import Shop

STRANGE = "0x" + "77" * 20
UNKNOWN = "0x20c0" + "11" * 18
BOTH_PLACES = pytest.mark.parametrize("place", BOTH, ids=["v1", "v2"])


def held_on(place: Escrow, **changes: str) -> Held:
    """A channel of KEY's, with PAYEE."""
    if place.version == V2:
        return record(place, descriptor(operator="0x" + "00" * 20, **changes)).held(1000)
    return record(place, replace(StreamChannel(KEY.address, PAYEE, PATH, SALT, KEY.address), **changes)).held(1000)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "another chain": ({"chainId": 4217}, "asked on chain 4217"),
    "no chain": ({"chainId": None}, "chainId"),
    "a strange escrow": ({"escrowContract": STRANGE}, "not the known escrow"),
    "no escrow": ({"escrowContract": None}, "escrowContract"),
    "an unknown protocol": ({"sessionProtocol": "v3"}, "sessionProtocol"),
    "the escrow of the other protocol": ({"sessionProtocol": "other"}, "not the known escrow"),
}


@BOTH_PLACES
@pytest.mark.guard("T07", "T47")
@pytest.mark.spec("TSES-006", "TSES-033")
@pytest.mark.parametrize("name", REFUSED)
def test_what_it_does_not_know_is_refused_before_anything_is_signed(place: Escrow, name: str) -> None:
    """By name, and with no question to the chain."""
    changes, reason = REFUSED[name]
    request = write_session_request(terms(place))
    details = request["methodDetails"] | changes
    if details["sessionProtocol"] == "other":
        details["sessionProtocol"] = "v1" if place.version == V2 else "v2"
    request["methodDetails"] = {key: value for key, value in details.items() if value is not None}
    with pytest.raises(NoPayableOffer, match=reason):
        offline_payer().terms(challenge_of(request))


@pytest.mark.spec("TSES-030", "TSES-031")
@pytest.mark.guard("T47")
@pytest.mark.parametrize("changes", [{"currency": UNKNOWN}, {"currency": "pathUSD"}, {"recipient": "0x" + "00" * 20}])
def test_a_token_or_payee_that_is_none_is_refused(changes: dict[str, str]) -> None:
    """A token must be pinned or the owner's; nobody is paid at the zero address."""
    with pytest.raises(NoPayableOffer):
        offline_payer().terms(challenge_of(write_session_request(terms(E2)) | changes))


@BOTH_PLACES
@pytest.mark.guard("T47")
def test_another_escrow_is_paid_by_setting_only(place: Escrow) -> None:
    """The owner of the wallet names it."""
    request = write_session_request(terms(place))
    request["methodDetails"]["escrowContract"] = STRANGE
    payer = offline_payer(escrows=frozenset({STRANGE}))
    assert payer.terms(challenge_of(request)).escrow == replace(place, address=STRANGE)


@pytest.mark.spec("TSES-006")
def test_a_protocol_that_is_not_wanted_is_not_answered() -> None:
    """Nor answered with the other one."""
    only = offline_payer(protocols=frozenset({"v2"}))
    assert only.terms(challenge_of(write_session_request(terms(E2)))).version == V2
    with pytest.raises(NoPayableOffer, match="v1"):
        only.terms(challenge_of(write_session_request(terms(E1))))
    silent = write_session_request(terms(E1))
    del silent["methodDetails"]["sessionProtocol"]
    assert offline_payer().terms(challenge_of(silent)).version == V1


@BOTH_PLACES
@pytest.mark.guard("T07", "T47")
def test_a_channel_fits_the_terms_it_was_opened_for_and_no_others(place: Escrow) -> None:
    """Same escrow, payee, token, operator, and a key of ours."""
    payer, held, asked = offline_payer(), held_on(place), terms(place)
    assert payer.fits(held, asked)
    other_place = replace(place, address=STRANGE)
    assert not payer.fits(held, replace(asked, escrow=other_place))
    assert not payer.fits(held, replace(asked, escrow=E1 if place == E2 else E2))
    assert not payer.fits(held, replace(asked, recipient=STRANGE))
    assert not payer.fits(held, replace(asked, asset=asset_of(42431, UNKNOWN)))
    assert not payer.fits(held, replace(asked, operator=OPERATOR))
    assert not payer.fits(replace(held, payer=STRANGE), asked)
    assert not payer.fits(replace(held, method="other"), asked)
    assert not payer.fits(held_on(place, authorized_signer=OTHER_KEY.address), asked)
    assert offline_payer(voucher_key=OTHER_KEY).fits(held_on(place, authorized_signer=OTHER_KEY.address), asked)


@pytest.mark.guard("T08")
def test_a_record_of_another_channel_signs_nothing() -> None:
    """A state that was swapped, cut or made up is no channel of ours."""
    payer, held = offline_payer(), held_on(E2)
    for state in (held_on(E2, salt="0x" + "99" * 32).state, held_on(E1).state):
        with pytest.raises(UsageError, match="another channel"):
            payer.sign(replace(held, state=state), 5)
    for state in (
        b"",
        b"{}",
        held.state[:-1],
        held.state.replace(b'"v2"', b'"v9"'),
        held.state.replace(b"0x20c0", b""),
    ):
        with pytest.raises(UsageError, match="not the record"):
            payer.sign(replace(held, state=state), 5)


@BOTH_PLACES
def test_a_record_comes_back(place: Escrow) -> None:
    """As it was kept."""
    recorded = read_record(held_on(place).state)
    assert recorded.encode() == held_on(place).state
    assert recorded.ref.escrow == place


@BOTH_PLACES
@pytest.mark.guard("T20")
@pytest.mark.spec("TSES-018", "TSES-075", "TSES-076", "TSES-077", "TSES-079", "TSES-080", "TSES-081")
def test_a_voucher_is_signed_for_any_amount_that_the_protocol_holds(place: Escrow) -> None:
    """And for none beyond; its payload names the channel and its descriptor."""
    payer, held = offline_payer(), held_on(place)
    for units in (0, 1, place.version.max_units):
        voucher = payer.sign(held, units)
        VoucherScheme(place).verify(held.channel_id, units, voucher, KEY.address)
        payload = payer.payload(held, Act.VOUCHER, units, voucher)
        assert read_payload(payload, place) == VoucherPayload(read_record(held.state).ref, units, voucher)
        assert ("descriptor" in payload) == (place.version == V2)
        closing = payer.payload(held, Act.CLOSE, units, voucher)
        assert closing == {**payload, "action": "close"}
    for wrong in (-1, place.version.max_units + 1, True, 1.0, "5"):
        with pytest.raises(UsageError):
            payer.sign(held, wrong)  # type: ignore[arg-type]  # what a caller may get wrong
    with pytest.raises(UsageError, match="buys or closes"):
        payer.payload(held, Act.OPEN, 5, b"")


def test_a_voucher_is_signed_in_no_time() -> None:
    """A stream signs one per window: far below a millisecond, whatever else this machine does."""
    payer, held = offline_payer(), held_on(E2)
    best = min(_seconds_for(lambda: payer.sign(held, 77)) for _ in range(200))
    assert best < 0.0005


def _seconds_for(act: Any) -> float:
    began = time.perf_counter()
    act()
    return time.perf_counter() - began


@pytest.mark.spec("TSES-056", "TSES-175", "TSES-176", "TSES-177", "TSES-178", "TSES-179")
def test_a_servers_word_is_read_into_a_balance() -> None:
    """From a receipt and from a stream that ran dry; what is neither is named."""
    payer, channel = offline_payer(), held_on(E2).channel_id
    receipt = SessionReceipt("2026-01-01T00:00:00Z", "c", channel, 50, 25, 3).receipt()
    assert payer.balance(receipt) == Balance(channel, 50, 25, units=3)
    told = NeedVoucher(channel, 75, 50, 1000).members()
    asked = Balance(channel, accepted_units=50, deposit_units=1000, required_units=75)
    assert payer.needed(told | {"more": 1}) == asked
    with pytest.raises(MalformedHeader):
        payer.balance(Receipt("tempo", channel, "2026-01-01T00:00:00Z"))
    for junk in ({}, told | {"deposit": 5}, told | {"channelId": "x"}):
        with pytest.raises(MalformedHeader, match="ran dry"):
            payer.needed(junk)


def test_who_it_is() -> None:
    """As programs ask for it."""
    payer = offline_payer()
    assert pays_sessions(payer)
    assert (payer.method, payer.intent, payer.account) == ("tempo", "session", KEY.address)
    assert payer.source() == f"did:pkh:eip155:42431:{KEY.address}"


ANY_CHANNEL = Held("k", "i", "n", "tempo", KEY.address, KEY.address, "a", KEY.address, 1)


@pytest.mark.spec("TSES-189")
def test_it_waits_a_minute_more_than_the_grace_period() -> None:
    """Block times vary."""
    assert offline_payer().withdraw_after_s(ANY_CHANNEL) >= 16 * 60


def test_a_token_without_a_peg_pays_no_fees() -> None:
    """Fees are paid in dollars: then pathUSD it is."""
    wallet = offline_payer().config.wallet
    payer = offline_payer(wallet=replace(wallet, tokens={UNKNOWN: Token(6, "MINE")}))
    request = write_session_request(terms(E2)) | {"currency": UNKNOWN}
    asset = payer.terms(challenge_of(request)).asset
    assert payer._fee_token(asset) == PATH
    assert payer._fee_token(asset_of(42431, PATH)) == PATH


WRONG: dict[str, dict[str, Any]] = {
    "escrows": {"escrows": ("treasury.eth",)},
    "session_protocols": {"session_protocols": ("v2", "v9")},
    "voucher_key": {"voucher_key": "5a" * 31},
    "chain_id": {"chain_id": 4217},
    "private_key": {"private_key": "ff" * 32},
}


@pytest.mark.devnet
@pytest.mark.guard("T38")
@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_setting_is_named(shop: Shop, name: str) -> None:
    """And a secret in it is not repeated."""
    settings = {"rpc_url": shop.chain.rpc_url, "private_key": KEY.secret().hex()} | WRONG[name]
    with pytest.raises(ConfigError, match=name) as error:
        shop.run(SESSIONS.payers(Wallet(**settings)))
    assert "5a5a" not in str(error.value)


@pytest.mark.devnet
def test_settings_make_payers(shop: Shop) -> None:
    """None where no session protocol is wanted; settings of something else are the program's mistake."""
    base: dict[str, Any] = {"rpc_url": shop.chain.rpc_url, "private_key": KEY.secret().hex()}
    assert shop.run(SESSIONS.payers(Wallet(**base, session_protocols=()))) == ()
    (payer,) = shop.run(
        SESSIONS.payers(
            Wallet(**base, escrows=(STRANGE,), voucher_key=OTHER_KEY.secret().hex(), session_protocols=("v2",))
        )
    )
    assert payer.config.signers == {KEY.address, OTHER_KEY.address}
    assert (payer.config.escrows, payer.config.protocols) == ({STRANGE}, {"v2"})
    assert isinstance(payer.config.voucher_key, PrivateKey)
    with pytest.raises(UsageError):
        shop.run(SESSIONS.payers(Token(6, "x")))  # type: ignore[arg-type]  # not settings at all
