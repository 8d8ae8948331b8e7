"""The settings of a seller of sessions, and what is sold over HTTP by them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import closing
from decimal import Decimal
from typing import Any

import httpx
import pytest
from solders.keypair import Keypair

from coinslot.core.canonical import canonical
from coinslot.core.challenge import parse_challenges
from coinslot.core.receipt import decode_receipt
from coinslot.devnet.channels.solana.program import PROGRAM_ID, TREASURY_OWNER
from coinslot.drive import RealWorld, run
from coinslot.errors import ConfigError
from coinslot.intents import acts
from coinslot.method import Extras, load, sells_sessions
from coinslot.methods.solana.session.configure import LOCAL_TREASURY, known_treasury
from coinslot.methods.solana.session.distribution import MAX_SPLITS
from coinslot.methods.solana.session.escrow import TREASURY_OWNER as MAINNETS
from coinslot.methods.solana.session.payload import VoucherPayload
from coinslot.methods.solana.session.record import read_record
from coinslot.methods.solana.session.seller import SolanaSessionSeller
from coinslot.methods.solana.session.voucher import sign_voucher
from coinslot.settings import settings
from coinslot.transports.asgi import CoinslotMiddleware
from coinslot.transports.metering import METER
from coinslot.transports.slot import Slot
from coinslot.transports.sse import asse
from support.rpcfault import FaultyNode, answer
from support.serving import asgi_server
from support.solanaopening import PAYER, by_operator, key, recorded, terms
from support.solanasession import hello, owner_of, secret
from support.solanatill import COST, DEPOSIT, PURSE, PYUSD, USDC, Buyer, SolanaTill
from support.svm import SvmChain

Tills = Callable[..., SolanaTill]
_PRICE, _EXTRAS, _TARIFF = Decimal("0.001"), Extras(), acts.Tariff()


def table(svm: SvmChain, owner: Keypair, **changes: Any) -> dict[str, Any]:
    """The settings of a seller; None leaves one out."""
    given: dict[str, Any] = {
        "rpc_url": svm.rpc_url,
        "network": "localnet",
        "recipient": str(owner.pubkey()),
        "session_key": secret(owner),
        **changes,
    }
    return {name: value for name, value in given.items() if value is not None}


def sellers(svm: SvmChain, owner: Keypair, **changes: Any) -> list[SolanaSessionSeller]:
    """What the method makes of them."""
    method = load("solana")
    sessions = method.sessions
    assert sessions is not None
    with closing(RealWorld()) as world:
        made = run(sessions.sellers(settings(method.Accept, table(svm, owner, **changes), "test")), world)
    assert all(sells_sessions(one) for one in made)
    return [one for one in made if isinstance(one, SolanaSessionSeller)]


def test_sessions_are_sold_with_a_key_and_not_without(svm: SvmChain) -> None:
    """The defaults: USDC, signed by clients, a grace period of 15 minutes."""
    owner = owner_of(svm)
    assert sellers(svm, owner, session_key=None) == []
    (seller,) = sellers(svm, owner)
    config = seller.config
    assert (config.program, config.till.treasury_owner, LOCAL_TREASURY) == (PROGRAM_ID, TREASURY_OWNER, TREASURY_OWNER)
    assert (config.asset.id, config.grace_s, config.operator, config.sponsoring) == (USDC, 900, None, None)
    assert config.min_deposit_units == 100_000
    assert config.till.payer is config.till.payee
    assert secret(owner) not in repr(settings(load("solana").Accept, table(svm, owner), "test"))


def test_a_sponsor_pays_for_openings_and_closings(svm: SvmChain) -> None:
    """With budgets of its own, and the rent of a channel and its escrow in them."""
    owner, fees = owner_of(svm), svm.keypair()
    (seller,) = sellers(svm, owner, fee_payer_key=secret(fees), session_sponsor_payer_daily="0.01")
    sponsoring = seller.config.sponsoring
    assert sponsoring is not None
    assert (sponsoring.address, seller.config.till.payer.address) == (str(fees.pubkey()),) * 2
    assert sponsoring.rent_lamports == (256 + 128) * 6_960 + (165 + 128) * 6_960
    assert sponsoring.sponsor.daily.payer_units == 10_000_000
    refunds = seller.config.refunds
    assert refunds is not None
    assert (refunds.payer, refunds.account_lamports) == (sponsoring.address, (165 + 128) * 6_960)


@pytest.mark.spec("SSES-076", "SSES-077")
def test_an_operator_signs_with_its_own_key_or_the_recipients(svm: SvmChain) -> None:
    """As it is set."""
    owner, other = owner_of(svm), Keypair()
    (seller,) = sellers(svm, owner, voucher_signer="operator")
    assert seller.config.operator is not None
    assert seller.config.operator.address == str(owner.pubkey())
    (seller,) = sellers(svm, owner, voucher_signer="operator", operator_key=secret(other))
    assert seller.config.operator is not None
    assert seller.config.operator.address == str(other.pubkey())
    details = seller.offer(_PRICE, _EXTRAS, _TARIFF)["methodDetails"]
    assert (details["voucherSigner"], details["operator"]) == ("operator", str(other.pubkey()))


MANY = [{"recipient": key(f"somebody {at}").address, "bps": 10} for at in range(MAX_SPLITS + 1)]
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "another's key": ({"session_key": secret(Keypair())}, "only the recipient's own"),
    "no key for a program": ({"session_key": None, "channel_program": PROGRAM_ID}, "session_key"),
    "no such program": ({"channel_program": key("nothing").address, "channel_treasury": PROGRAM_ID}, "no program"),
    "a program without a treasury": ({"channel_program": key("nothing").address}, "channel_treasury"),
    "native SOL": ({"currency": "sol"}, "wrap SOL"),
    "another signer": ({"voucher_signer": "server"}, "voucher_signer"),
    "a key for nothing": ({"operator_key": secret(Keypair())}, "operator_key"),
    "too many splits": ({"session_splits": MANY}, "at most 15; an opening can't carry more"),
    "a split of more than all": ({"session_splits": [{**MANY[0], "bps": 10_000}, MANY[1]]}, "session_splits"),
    "a split twice": ({"session_splits": MANY[:1] * 2}, "session_splits"),
    "idle times that shrink": ({"idle_timeouts": [60, 30]}, "idle_timeouts"),
    "another cluster": ({"network": "devnet"}, "network"),
    "another commitment": ({"commitment": "processed"}, "commitment"),
    "a deposit beyond u64": ({"min_deposit": "20000000000000"}, "min_deposit"),
}


@pytest.mark.guard("T07", "T28")
@pytest.mark.spec("SSES-180", "SSES-219")
@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_settings_that_could_not_work_are_refused_by_name(svm: SvmChain, wrong: tuple[dict[str, Any], str]) -> None:
    """Before anything is sold."""
    changes, why = wrong
    with pytest.raises(ConfigError, match=why):
        sellers(svm, owner_of(svm), **changes)


@pytest.mark.guard("T28")
def test_a_treasury_that_is_not_known_must_be_named(svm: SvmChain, faulty_svm: FaultyNode) -> None:
    """On devnet: with a wrong one the program would refuse to pay anybody out, long after the first sale."""
    faulty_svm.on("getGenesisHash", answer("EtWTRABZaYq6iMfeYKouRu166VU2xqa1wcaWoxPkrZBG"))
    there = {"rpc_url": faulty_svm.url, "network": "devnet"}
    with pytest.raises(ConfigError, match=r"channel_treasury: .* on devnet is not published; name its owner"):
        sellers(svm, owner_of(svm), **there)
    with pytest.raises(ConfigError, match="currency"):  # it goes on: devnet's token is not on this chain
        sellers(svm, owner_of(svm), **there, channel_treasury=TREASURY_OWNER)
    assert (known_treasury("mainnet"), known_treasury("localnet")) == (MAINNETS, TREASURY_OWNER)


def test_the_recipient_is_no_split_of_its_own(svm: SvmChain) -> None:
    """It gets what is left."""
    owner = owner_of(svm)
    with pytest.raises(ConfigError, match="what is left"):
        sellers(svm, owner, session_splits=[{"recipient": str(owner.pubkey()), "bps": 10}])


EXTENSIONS = {
    "transfer fee": 1, "mint close authority": 3, "confidential transfers": 4, "default account state": 6,
    "non-transferable": 9, "interest bearing": 10, "permanent delegate": 12, "transfer hook": 14, "scaled": 25,
    "pausable": 26, "one that nobody knows": 999,
}  # fmt: skip


@pytest.mark.spec("SSES-026", "SSES-268", "SSES-269", "SSES-279", "SSES-280", "SSES-284")
@pytest.mark.guard("T29")
@pytest.mark.parametrize("kind", EXTENSIONS.values(), ids=EXTENSIONS)
def test_a_token_with_an_extension_that_channels_do_not_take_is_refused(svm: SvmChain, kind: int) -> None:
    """Presence alone is enough, whatever it says; and even if its issuer is trusted otherwise."""
    extension = kind.to_bytes(2, "little") + (4).to_bytes(2, "little") + bytes(4)
    mint = {"decimals": 6, "programId": "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb", "extensions": extension.hex()}
    svm.rpc("svm_setMint", PYUSD, mint)
    with pytest.raises(ConfigError, match="extension"):
        sellers(svm, owner_of(svm), currency="PYUSD")


@pytest.mark.spec("SSES-268")
def test_a_token_with_what_says_only_something_is_taken(svm: SvmChain) -> None:
    """Metadata and groups."""
    for kind in (18, 19, 20, 21, 22, 23):
        extension = kind.to_bytes(2, "little") + (4).to_bytes(2, "little") + bytes(4)
        mint = {
            "decimals": 6,
            "programId": "TokenzQdBNbLqP5VEhdkAS6EPFLC1PHnBqCXEpPxuEb",
            "extensions": extension.hex(),
        }
        svm.rpc("svm_setMint", PYUSD, mint)
        assert sellers(svm, owner_of(svm), currency="PYUSD")[0].config.token_program.startswith("TokenzQ")


# --- over HTTP -------------------------------------------------------------------------------------


async def words(scope: Any, receive: Any, send: Any) -> None:
    """Five words, paid one by one."""
    if scope["type"] == "lifespan":
        await hello(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
    async for piece in asse(scope[METER], ["zero", "one", "two", "three", "four"]):
        await send({"type": "http.response.body", "body": piece, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture
def site(svm: SvmChain, solana_till: Tills) -> Iterator[Callable[..., tuple[httpx.Client, SolanaTill]]]:
    """Starts sites that sell by settings; the till makes their clients' bytes."""
    closings: list[Any] = []

    def start(app: Any = hello, prices: Any = "0.001", **changes: Any) -> tuple[httpx.Client, SolanaTill]:
        owner, fees = owner_of(svm), svm.keypair()
        given = table(svm, owner, fee_payer_key=secret(fees), min_deposit="0", **changes)
        slot = Slot("shop.example", store="memory:", solana=given)
        price = prices(slot) if callable(prices) else prices
        server = asgi_server(CoinslotMiddleware(app, slot, {"/**": price}), lifespan="on")
        url = server.__enter__()
        client = httpx.Client(base_url=url, trust_env=False, timeout=30)
        closings.extend((client.close, lambda: server.__exit__(None, None, None), slot.close))
        till = solana_till(operator=changes.get("voucher_signer") == "operator")
        object.__setattr__(till.payee, "address", str(owner.pubkey()))
        return client, till

    yield start
    for close in closings:
        close()


def offers(client: httpx.Client) -> Any:
    """The challenge for a session."""
    answer = client.get("/words")
    assert answer.status_code == 402
    good, _ = parse_challenges(answer.headers.get_list("www-authenticate"))
    return next(one for one in good if (one.method, one.intent) == ("solana", "session"))


def said(answer: httpx.Response) -> dict[str, Any]:
    """The receipt."""
    return dict(decode_receipt(answer.headers["payment-receipt"]).extra)


@pytest.mark.spec("SSES-236", "SSES-237", "SSES-238", "SSES-241", "SSES-243", "SSES-245")
@pytest.mark.parametrize("signer", ["client", "operator"])
def test_a_session_over_http_from_open_to_close(
    site: Callable[..., tuple[httpx.Client, SolanaTill]], signer: str
) -> None:
    """Two signers' modes, hand-made credentials, and receipts that add up."""
    client, till = site(voucher_signer=signer)
    buyer = Buyer(till, key_with_money(till), offers(client))

    def present(credential: str) -> httpx.Response:
        return client.get("/words", headers={"authorization": credential})

    opened = present(buyer.open())
    assert (opened.status_code, said(opened)["spent"]) == (200, "0"), opened.text
    for times in (1, 2, 3):
        answer = present(buyer.pay())
        assert (answer.status_code, answer.text) == (200, "hello"), answer.text
        assert (said(answer)["spent"], said(answer)["acceptedCumulative"]) == (str(times * COST),) * 2
    answer = present(buyer.top_up(COST))
    assert answer.status_code == 204
    closed = present(buyer.close())
    assert closed.status_code == 204, closed.text
    assert (said(closed)["spent"], said(closed)["refunded"]) == (str(3 * COST), str(DEPOSIT + COST - 3 * COST))
    assert buyer.purse == PURSE - 3 * COST
    over = present(buyer.pay())
    assert (over.status_code, over.json()["type"].rpartition("/")[2]) == (402, "verification-failed")
    assert "www-authenticate" in over.headers


def key_with_money(till: SolanaTill) -> Any:
    """A client's key that holds tokens, and no SOL."""
    made = key(f"client of {till.payee.address}")
    till.svm.fund(made.address, PURSE, "USDC")
    return made


@pytest.mark.spec("SSES-185", "SSES-187", "SSES-239")
@pytest.mark.parametrize("signer", ["client", "operator"])
def test_a_stream_over_http_is_paid_by_the_event(
    site: Callable[..., tuple[httpx.Client, SolanaTill]], signer: str
) -> None:
    """One voucher, or one proof, buys what is delivered; the receipt at the end tells how much that was."""
    client, till = site(words, lambda slot: slot.metered("0.001", unit="event", window=5), voucher_signer=signer)
    buyer = Buyer(till, key_with_money(till), offers(client))
    assert client.get("/words", headers={"authorization": buyer.open()}).status_code == 200
    answer = client.get("/words", headers={"authorization": buyer.pay(5 * COST), "accept": "text/event-stream"})
    assert answer.status_code == 200, answer.text
    assert said(answer)["acceptedCumulative"] == str(5 * COST if signer == "client" else 0)
    assert [f"data: {word}" in answer.text for word in ("zero", "four")] == [True] * 2
    assert f'"spent":"{5 * COST}"' in answer.text.rpartition("event: payment-receipt")[2]
    closed = client.get("/words", headers={"authorization": buyer.close()})
    assert (closed.status_code, said(closed)["spent"]) == (204, str(5 * COST)), closed.text


# --- going on with a channel -----------------------------------------------------------------------


@pytest.mark.spec("SSES-212", "SSES-213", "SSES-152")
@pytest.mark.guard("T07", "T27")
def test_only_a_channel_that_the_chain_shows_open_is_suggested(solana_till: Tills) -> None:
    """A challenge that names one is not issued for one that is closing, changed, or gone: then it is for a new one."""
    till = solana_till(idle_options_s=(60, 600))
    buyer = till.buyer(deposit=COST)
    assert till.serve(buyer.pay()).status == 200

    def suggested() -> dict[str, Any]:
        till.world.at_s += 6
        record = buyer.record
        hinted = till.seller.suggest(till.seller.offer(_PRICE, _EXTRAS, _TARIFF), record, 2 * COST)
        return dict(run(till.seller.complete(hinted), till.world)["methodDetails"])

    assert suggested()["channelId"] == buyer.channel
    told: Any = till.svm.rpc("getAccountInfo", buyer.channel, {"encoding": "base64"})
    mine = b64decode(told["value"]["data"][0])
    for place, byte in ((3, 1), (3, 2), (3, 3), (56, mine[56] ^ 1), (120, mine[120] ^ 1), (0, 0), (1, 2)):
        changed = mine[:place] + bytes((byte,)) + mine[place + 1 :]
        till.svm.rpc("surfnet_setAccount", buyer.channel, {"data": changed.hex()})
        details = suggested()
        assert "channelId" not in details
        assert {"recentBlockhash", "recentSlot", "idleTimeoutOptionsSeconds"} <= set(details)
        anew = {**till.seller.offer(_PRICE, _EXTRAS, _TARIFF), "methodDetails": details}
        assert till.seller.terms(anew).channel_id is None
    till.svm.rpc("surfnet_setAccount", buyer.channel, {"data": mine.hex()})
    assert suggested()["channelId"] == buyer.channel
    assert read_record(buyer.record.state).idle_s == suggested()["idleTimeoutSeconds"]


@pytest.mark.spec("SSES-122")
def test_a_plain_voucher_is_presented_as_any_other(svm: SvmChain) -> None:
    """And not at all by the quick way where the server signs the vouchers: then `read` says what is wrong with it."""
    (seller,) = sellers(svm, owner_of(svm))
    channel_id = recorded(terms()).id
    told = VoucherPayload(channel_id, sign_voucher(PAYER, channel_id, 5_000)).members()
    assert seller.read_voucher(canonical(told), terms()) == seller.read(told, terms())
    assert seller.read_voucher(canonical(told), by_operator()) is None
