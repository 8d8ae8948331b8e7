"""What a seller of sessions asks, reads and tells, with no chain at all; and its settings, with one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from coinslot.chains.evm.address import ZERO_ADDRESS
from coinslot.chains.evm.hexdata import to_hex
from coinslot.core.canonical import decode_object
from coinslot.drive import Flow
from coinslot.errors import (
    ConfigError,
    InvalidChallenge,
    InvalidVoucher,
    MalformedCredential,
    SignerMismatch,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import acts, session
from coinslot.intents.dry import read_need_voucher
from coinslot.method import Extras, load, sells_sessions
from coinslot.methods.tempo.session.channel import StreamChannel, channel_ref
from coinslot.methods.tempo.session.escrow import V1, V2, Version
from coinslot.methods.tempo.session.fields import read_word
from coinslot.methods.tempo.session.payload import ClosePayload, TopUpPayload, VoucherPayload
from coinslot.methods.tempo.session.payout import Payer
from coinslot.methods.tempo.session.receipt import read_session_receipt
from coinslot.methods.tempo.session.record import record
from coinslot.methods.tempo.session.seller import SessionConfig, TempoSessionSeller
from coinslot.methods.tempo.session.snapshot import believe_snapshot, decode_snapshot, read_snapshot
from coinslot.methods.tempo.session.terms import SessionTerms
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.settings import Accept
from coinslot.methods.tempo.tokens import TESTNET
from support.rpcfault import FaultyNode, answer
from support.tempochannel import ALPHA, KEY, OPERATOR, OTHER_KEY, PATH, PAYEE, SALT, asset_of, descriptor, escrow
from support.temposession import read_v1_units
from support.temposhop import Shop

VERSIONS = pytest.mark.parametrize("version", [V1, V2], ids=["v1", "v2"])
NOTHING = Extras()
SESSIONS = load("tempo").sessions
assert SESSIONS is not None


def seller(version: Version, **changes: Any) -> TempoSessionSeller:
    """For PAYEE, in pathUSD, at an address where no node is."""
    operator = OPERATOR if version == V2 else ZERO_ADDRESS
    config = SessionConfig(
        rpc_url="http://127.0.0.1:1",
        escrow=escrow(version),
        asset=asset_of(TESTNET, PATH),
        recipient=PAYEE,
        operator=operator,
        payer=Payer(OTHER_KEY, TESTNET, PATH, 10**11),
        min_delta_units=0,
        min_deposit_units=0,
        suggested_deposit_units=None,
        simulate=True,
        confirmations=0,
        lag_s=30,
        sponsor=None,
    )
    return TempoSessionSeller(replace(config, **changes))


def terms_of(one: TempoSessionSeller, price: str = "0.000025") -> SessionTerms:
    """What it asks for 25 units."""
    return one.terms(one.offer(Decimal(price), NOTHING, acts.Tariff("llm_token")))


def voucher(one: TempoSessionSeller, kind: type = VoucherPayload, **changes: str) -> dict[str, Any]:
    """A payload of KEY's."""
    place, units = one.config.escrow, 300
    stands_for = descriptor(**changes)
    ref = channel_ref(place, stands_for) if place.version == V2 else record(place, stream()).ref
    if kind is TopUpPayload:
        return TopUpPayload(ref, b"\x76", units).members()
    made: dict[str, Any] = kind(ref, units, VoucherScheme(place).sign(KEY, ref.id, units)).members()
    return made


def stream() -> StreamChannel:
    """The terms of a v1 channel."""
    return StreamChannel(KEY.address, PAYEE, PATH, SALT, KEY.address)


def channel(one: TempoSessionSeller, **changes: Any) -> session.Channel:
    """On record: 1000 deposited, 300 accepted, 200 spent, 100 settled."""
    place = one.config.escrow
    kept = record(place, descriptor() if place.version == V2 else stream())
    base = session.Channel(
        key=f"eip155:{TESTNET}/{kept.ref.id}",
        id=kept.ref.id,
        network=f"eip155:{TESTNET}",
        method="tempo",
        payer=KEY.address,
        payee=PAYEE,
        signer=KEY.address,
        asset=f"eip155:{TESTNET}/{PATH}",
        deposit=1000,
        accepted=300,
        spent=200,
        settled=100,
        units=8,
        stage=session.Stage.OPEN,
        voucher=VoucherScheme(place).sign(KEY, kept.ref.id, 300),
        state=kept.encode(),
    )
    return replace(base, **changes)


# --- what is asked -------------------------------------------------------------------------------


@VERSIONS
@pytest.mark.spec("TSES-005", "TSES-036")
def test_an_offer_is_the_price_of_a_unit(version: Version) -> None:
    """Rounded up to base units; with protocol, chain, escrow, operator, and what the settings say besides."""
    one = seller(version, min_delta_units=5, suggested_deposit_units=900)
    request = one.offer(Decimal("0.0000241"), Extras("why", "id-7"), acts.Tariff("llm_token"))
    details = request["methodDetails"]
    assert (request["amount"], request["unitType"], request["suggestedDeposit"]) == ("25", "llm_token", "900")
    assert (request["currency"], request["recipient"]) == (PATH, PAYEE)
    assert (request["description"], request["externalId"]) == ("why", "id-7")
    assert (details["chainId"], details["sessionProtocol"]) == (TESTNET, version.name)
    assert (details["escrowContract"], details["minVoucherDelta"]) == (escrow(version).address, "5")
    assert details.get("operator") == (OPERATOR if version == V2 else None)
    assert "feePayer" not in details
    terms = one.terms(request)
    assert (terms.amount_units, terms.asset, terms.min_voucher_delta_units) == (25, one.config.asset, 5)
    assert (one.method, one.intent, one.network) == ("tempo", "session", "eip155:42431")
    assert sells_sessions(one)


def test_a_deposit_that_is_suggested_would_be_taken() -> None:
    """The price's own word first, else the settings'; never less than the least, nor than one unit."""
    for settings, tariff, told in (
        ({}, None, None),
        ({}, "0.001", "1000"),
        ({"suggested_deposit_units": 500}, None, "500"),
        ({"suggested_deposit_units": 500}, "0.001", "1000"),
        ({"min_deposit_units": 2000}, "0.001", "2000"),
        ({"min_deposit_units": 2000}, None, "2000"),
        ({"suggested_deposit_units": 5}, None, "25"),
    ):
        deposit = None if tariff is None else Decimal(tariff)
        offered = seller(V2, **settings).offer(Decimal("0.000025"), NOTHING, acts.Tariff("x", deposit))
        assert offered.get("suggestedDeposit") == told


def test_what_no_client_may_pay_is_not_offered() -> None:
    """A price of nothing, a unit without a name, splits."""
    one = seller(V2)
    for price, extras, unit in (
        ("0", NOTHING, "x"),
        ("1", NOTHING, ""),
        ("1", Extras(splits=((PAYEE, Decimal(1)),)), "x"),
    ):
        with pytest.raises(UsageError):
            one.offer(Decimal(price), extras, acts.Tariff(unit))


@VERSIONS
@pytest.mark.guard("T07")
def test_terms_of_another_seller_are_not_taken(version: Version) -> None:
    """Another chain, escrow, protocol, token, payee or operator than ours."""
    one = seller(version)
    request = dict(one.offer(Decimal("0.000025"), NOTHING, acts.Tariff()))
    details = request["methodDetails"]
    for wrong in (
        {"methodDetails": details | {"chainId": 4217}},
        {"methodDetails": details | {"escrowContract": ALPHA}},
        {"methodDetails": details | {"sessionProtocol": "v1" if version == V2 else "v2"}},
        {"methodDetails": details | {"sessionProtocol": "v3"}},
        {"currency": ALPHA},
        {"recipient": ALPHA},
        {"amount": "0"},
    ):
        with pytest.raises(InvalidChallenge):
            one.terms(request | wrong)
    if version == V2:
        with pytest.raises(InvalidChallenge):
            one.terms(request | {"methodDetails": details | {"operator": ALPHA}})
    one.terms(request)


@pytest.mark.spec("TSES-123", "TSES-124", "TSES-125")
def test_the_protocols_have_rules_of_their_own() -> None:
    """v1 takes what a voucher says and refuses lower ones; v2 takes what was spent and passes them over."""
    old, new = seller(V1, min_delta_units=7), seller(V2)
    first, second = old.rules(terms_of(old)), new.rules(terms_of(new))
    assert (first.bits, first.lower, first.capture) == (128, session.Repeat.REFUSE, session.Capture.VOUCHER)
    assert (second.bits, second.lower, second.capture) == (96, session.Repeat.IGNORE, session.Capture.SPENT)
    assert (first.min_delta_units, second.min_delta_units) == (7, 0)
    assert first.equal is second.equal is session.Repeat.IGNORE
    assert (first.top_up_reopens, second.top_up_reopens) == (True, True)


# --- vouchers ------------------------------------------------------------------------------------


# What brought it, and when: neither counts here.
CLAIMED: Any = (None, 0.0)


def signed_by(signer: str) -> session.Channel:
    """The record of a channel whose vouchers that signer signs; nothing else of it counts here."""
    return session.Channel("k", "i", "n", "tempo", PAYEE, PAYEE, signer, "a", 1)


@VERSIONS
@pytest.mark.spec("TSES-141")
def test_a_voucher_is_read_and_verified_without_a_chain(version: Version) -> None:
    """Its key is the store's, whatever the case on the wire; its raw is what settles it later."""
    one = seller(version)
    terms, given = terms_of(one), voucher(one)
    upper = given | {"channelId": "0x" + given["channelId"][2:].upper()}
    shown = one.read(given, terms)
    assert one.read(upper, terms) == shown
    assert (shown.act, shown.key) == (acts.Act.VOUCHER, f"eip155:42431/{given['channelId']}")
    assert shown.voucher == session.Voucher(given["channelId"], 300, bytes.fromhex(given["signature"][2:]))
    one.verify(shown, signed_by(KEY.address), *CLAIMED)
    closing = one.read(voucher(one, kind=ClosePayload), terms)
    assert closing.act is acts.Act.CLOSE
    one.verify(closing, signed_by(KEY.address), *CLAIMED)
    adding = one.read(voucher(one, kind=TopUpPayload), terms)
    assert (adding.act, adding.voucher) == (acts.Act.TOP_UP, None)
    with pytest.raises(UsageError):
        one.verify(adding, signed_by(KEY.address), *CLAIMED)


@VERSIONS
@pytest.mark.guard("T13", "T15")
@pytest.mark.spec("TSES-117", "TSES-119", "TSES-121")
def test_a_voucher_of_somebody_else_is_refused(version: Version) -> None:
    """The signer is who our record says; a high s and another amount are no signature of theirs."""
    one = seller(version)
    terms, given = terms_of(one), voucher(one)
    shown = one.read(given, terms)
    for signer in (OTHER_KEY.address, ZERO_ADDRESS, PAYEE):
        with pytest.raises(SignerMismatch):
            one.verify(shown, signed_by(signer), *CLAIMED)
    with pytest.raises(SignerMismatch):
        one.verify(one.read(given | {"cumulativeAmount": "301"}, terms), signed_by(KEY.address), *CLAIMED)
    order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
    good = bytes.fromhex(given["signature"][2:])
    high = good[:32] + (order - int.from_bytes(good[32:64], "big")).to_bytes(32, "big") + bytes((55 - good[64],))
    for bad in (high, good[:64], good + b"\x00"):
        with pytest.raises(InvalidVoucher):
            one.verify(one.read(given | {"signature": to_hex(bad)}, terms), signed_by(KEY.address), *CLAIMED)


@pytest.mark.guard("T07", "T08")
@pytest.mark.spec("TSES-012", "TSES-013", "TSES-014", "TSES-015", "TSES-016", "TSES-083", "TSES-118")
@pytest.mark.parametrize("kind", [VoucherPayload, ClosePayload, TopUpPayload])
def test_a_channel_of_other_parties_is_not_read(kind: type) -> None:
    """Payee, token and operator stand in the descriptor, and the id with this chain and escrow is computed from it."""
    one = seller(V2)
    terms = terms_of(one)
    for wrong in ({"payee": ALPHA}, {"token": ALPHA}, {"operator": ZERO_ADDRESS}):
        with pytest.raises(VerificationFailed):
            one.read(voucher(one, kind=kind, **wrong), terms)
    elsewhere = seller(V2, escrow=replace(one.config.escrow, chain_id=4217))
    with pytest.raises(VerificationFailed):
        one.read(voucher(elsewhere, kind=kind), terms)
    given = voucher(one, kind=kind)
    with pytest.raises(VerificationFailed):
        one.read(given | {"descriptor": given["descriptor"] | {"salt": "0x" + "34" * 32}}, terms)
    with pytest.raises(MalformedCredential):
        one.read({name: value for name, value in given.items() if name != "descriptor"}, terms)
    with pytest.raises(UsageError):
        one.read(given, object())  # type: ignore[arg-type]


# --- what is told --------------------------------------------------------------------------------


@pytest.mark.guard("F04")
@pytest.mark.spec("TSES-038", "TSES-039", "TSES-040", "TSES-041", "TSES-042", "TSES-043", "TSES-044", "TSES-045")
@pytest.mark.spec("TSES-046")
def test_a_client_that_lost_its_store_is_told_enough() -> None:
    """Its own signature on the highest voucher comes along, so it can believe how far it went."""
    one = seller(V2)
    kept = channel(one, closing_at_s=77.5)
    named, told = one.headers(kept, 325)
    assert named == ("Payment-Session", kept.id)
    assert told[0] == "Payment-Session-Snapshot"
    assert "=" not in told[1]
    snapshot = decode_snapshot(told[1])
    assert (snapshot.deposit_units, snapshot.accepted_units, snapshot.spent_units) == (1000, 300, 200)
    assert (snapshot.settled_units, snapshot.required_units, snapshot.units) == (100, 325, 8)
    assert snapshot.close_requested_at == 77
    ref = believe_snapshot(snapshot, one.config.escrow, signer=KEY.address, signed_units=0)
    assert ref.id == kept.id
    bare = decode_object(one.headers(replace(kept, accepted=0, voucher=b"", spent=0, settled=0), 25)[1][1])
    assert "highestVoucher" not in bare
    assert "closeRequestedAt" not in decode_object(one.headers(channel(one), 25)[1][1])


@VERSIONS
def test_a_request_suggests_a_channel_and_stays_what_it_was(version: Version) -> None:
    """The same price under the same terms; v1 knows the id only."""
    one = seller(version)
    request = one.offer(Decimal("0.000025"), Extras("why"), acts.Tariff("llm_token"))
    kept = channel(one)
    hinted = one.suggest(request, kept, 325)
    assert hinted["description"] == "why"
    terms = one.terms(hinted)
    assert terms.channel_id == kept.id
    assert replace(terms, channel_id=None, snapshot=None) == one.terms(request)
    if version == V1:
        assert terms.snapshot is None
        assert one.headers(kept, 325) == (("Payment-Session", kept.id),)
    else:
        assert terms.snapshot == read_snapshot(hinted["methodDetails"]["sessionSnapshot"])
        assert terms.snapshot is not None
        assert terms.snapshot.required_units == 325
    assert "channelId" not in request["methodDetails"]


@VERSIONS
@pytest.mark.spec("TSES-175", "TSES-176", "TSES-177", "TSES-178", "TSES-179")
def test_receipts_and_needs_say_how_a_channel_stands(version: Version) -> None:
    """As clients read them."""
    one = seller(version)
    kept = channel(one)
    told = read_session_receipt(one.receipt(kept, "c-1", 1_800_000_000.0, 3, "0x" + "ab" * 32))
    assert (told.challenge_id, told.channel_id, told.accepted_units, told.spent_units) == ("c-1", kept.id, 300, 200)
    assert (told.units, told.transaction_hash, told.timestamp) == (3, "0x" + "ab" * 32, "2027-01-15T08:00:00Z")
    assert read_session_receipt(one.receipt(kept, "c-1", 1.0, None, None)).transaction_hash is None
    need = read_need_voucher(one.need(kept, 325), read_word, read_v1_units)
    assert (need.channel_id, need.required_units, need.accepted_units, need.deposit_units) == (kept.id, 325, 300, 1000)


@VERSIONS
def test_a_seller_serves_what_it_can_settle(version: Version) -> None:
    """Its payee's channels in its token, by its protocol's rules, on whichever escrow."""
    one = seller(version)
    kept = channel(one)
    assert one.serves(kept)
    assert seller(version, escrow=replace(one.config.escrow, address=ALPHA)).serves(kept)
    assert not seller(V1 if version == V2 else V2).serves(kept)
    assert not one.serves(replace(kept, payee=ALPHA))
    assert not one.serves(replace(kept, asset="eip155:42431/" + ALPHA))
    assert not one.serves(replace(kept, network="eip155:1"))
    assert not one.serves(replace(kept, method="other"))


# --- settings ------------------------------------------------------------------------------------


def sellers(shop: Shop, **settings: Any) -> Any:
    """For KEY's account unless told otherwise."""
    assert SESSIONS is not None
    base = {"rpc_url": shop.chain.rpc_url, "recipient": KEY.address, "session_key": to_hex(KEY.secret())}
    flow: Flow[Any] = SESSIONS.sellers(Accept(**(base | settings)))
    return shop.run(flow)


@pytest.mark.devnet
def test_sessions_are_sold_only_by_who_can_settle_them(shop: Shop) -> None:
    """Without a key there are none; with one, v2, or what was named, in that order."""
    assert tuple(sellers(shop, session_key=None)) == ()
    (one,) = sellers(shop)
    assert (one.config.escrow, one.config.payer.fee_token, one.config.min_deposit_units) == (escrow(V2), PATH, 100_000)
    two = sellers(
        shop,
        session_protocols=("v1", "v2"),
        min_voucher_delta="0.000005",
        suggested_deposit="2.5",
        min_deposit="0",
        currency=ALPHA,
    )
    assert [each.config.escrow for each in two] == [escrow(V1), escrow(V2)]
    assert {each.config.payer.fee_token for each in two} == {ALPHA}
    assert {(each.config.min_delta_units, each.config.suggested_deposit_units) for each in two} == {(5, 2_500_000)}
    (operated,) = sellers(shop, recipient=PAYEE, operator=KEY.address)
    assert (operated.config.operator, operated.config.recipient) == (KEY.address, PAYEE)
    (paying,) = sellers(shop, fee_payer_key=to_hex(OTHER_KEY.secret()), sponsor_max_gas=1)
    assert paying.config.sponsor.max_gas == 2_500_000
    assert paying.offer(Decimal(1), NOTHING, acts.Tariff())["methodDetails"]["feePayer"] is True


@pytest.mark.devnet
@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"recipient": PAYEE}, "session_key: .*neither the recipient nor the operator"),
        ({"recipient": PAYEE, "operator": ALPHA}, "session_key"),
        (
            {"recipient": PAYEE, "operator": KEY.address, "session_protocols": ("v2", "v1")},
            "session_key: v1 channels have no operator",
        ),
        ({"session_key": "5a" * 31}, "session_key"),
        ({"session_key": None, "operator": PAYEE}, "operator"),
        ({"session_key": None, "suggested_deposit": "1"}, "suggested_deposit"),
        ({"session_key": None, "escrow": ALPHA}, "escrow"),
        ({"session_protocols": ()}, "session_protocols"),
        ({"session_protocols": ("v3",)}, "session_protocols"),
        ({"session_protocols": ("v2", "v2")}, "session_protocols"),
        ({"session_protocols": ("v1", "v2"), "escrow": ALPHA}, "escrow"),
        ({"escrow": ALPHA}, "escrow: at 0x20c0.* no escrow"),
        ({"escrow": escrow(V1).address}, "escrow: .*no escrow of session protocol v2"),
        ({"escrow": "0x12"}, "escrow"),
        ({"operator": "me"}, "operator"),
        ({"min_voucher_delta": "1e3"}, "min_voucher_delta"),
        ({"min_deposit": "-1"}, "min_deposit"),
        ({"min_deposit": "1" * 40}, "min_deposit: more than"),
        ({"session_fee_token": PAYEE}, "session_fee_token"),
        ({"chain_id": 4217}, "chain_id"),
    ],
)
def test_a_setting_that_can_not_be_is_named(shop: Shop, settings: dict[str, Any], named: str) -> None:
    """At start-up, not at the first channel that nobody can settle."""
    with pytest.raises(ConfigError, match=named):
        sellers(shop, **settings)


@pytest.mark.devnet
@pytest.mark.guard("T07")
def test_another_chain_has_no_known_escrow(shop: Shop, faulty: FaultyNode) -> None:
    """It must be named, and speak the protocol for this chain."""
    faulty.on("eth_chainId", answer("0x1"))
    with pytest.raises(ConfigError, match="escrow: none is known"):
        sellers(shop, rpc_url=faulty.url)
    with pytest.raises(ConfigError, match="escrow"):
        sellers(shop, rpc_url=faulty.url, escrow=escrow(V2).address)


def test_settings_of_something_else_are_no_settings() -> None:
    """Nor keys in what is printed."""
    assert SESSIONS is not None
    flow: Iterator[Any] = SESSIONS.sellers(object())  # type: ignore[arg-type]
    with pytest.raises(UsageError):
        next(flow)
    config = seller(V2).config
    assert to_hex(OTHER_KEY.secret())[2:] not in repr(config)
    assert "127.0.0.1" not in repr(config)
