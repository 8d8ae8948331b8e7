"""Openings and top-ups of our payer on a local chain: what is signed, and what keeps it from signing."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.message import MAX_BYTES, read_transaction, with_signature
from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM, TOKEN_PROGRAM
from coinslot.chains.solana.signature import Key
from coinslot.drive import RealWorld, run
from coinslot.errors import NoPayableOffer, UsageError
from coinslot.intents.acts import Held, Move
from coinslot.methods.solana.session.distribution import MAX_SPLITS, Split
from coinslot.methods.solana.session.payer import SolanaSessionPayer
from coinslot.methods.solana.session.payload import OpenPayload, TopUpPayload, read_payload
from coinslot.methods.solana.session.record import read_record
from coinslot.methods.solana.session.terms import SessionTerms
from coinslot.methods.solana.session.transaction import read_opening, read_topping_up
from coinslot.methods.solana.tokens import PYUSD, USDC, Token, asset, network
from support.solanapayer import DEPOSIT, OTHER, PAYEE, PRICE, SERVER, TERMS, challenge, payer, wallet_config
from support.svm import SvmChain

SOL = 10**9
DOLLAR = 10**6


@pytest.fixture(scope="module")
def world() -> Iterator[RealWorld]:
    """HTTP and clocks."""
    with httpx.Client(trust_env=False) as client:
        yield RealWorld(client)


class Lane:
    """A fresh account on the chain, and its payer."""

    def __init__(self, svm: SvmChain, world: RealWorld, *, lamports: int = 0, units: int = DOLLAR, **changes: Any):
        self.svm, self.world = svm, world
        self.network = network(str(svm.rpc("getGenesisHash")))
        pair = svm.keypair(lamports=lamports, **({"USDC": units} if units else {}))
        self.key = Key(bytes(pair.secret()))
        self.wallet = wallet_config(svm.rpc_url, self.network, self.key)
        given = {"wallet": self.wallet, "voucher_key": self.key, **changes}
        self.payer: SolanaSessionPayer = payer(**given)

    def terms(self, **changes: Any) -> SessionTerms:
        """What a server asks that is on the same chain, and pays fees."""
        newest = self.svm.rpc("getLatestBlockhash")
        base = replace(
            TERMS,
            asset=asset(self.network, USDC, self.wallet.tokens[USDC]),
            fee_payer=SERVER.address,
            blockhash=str(newest["value"]["blockhash"]),
            recent_slot=int(newest["context"]["slot"]),
        )
        return replace(base, **changes)

    def open(self, deposit: int = DEPOSIT, **changes: Any) -> Move:
        """A signed opening."""
        asked = challenge(self.terms(**changes))
        move: Move = run(self.payer.open(asked, self.payer.terms(asked), deposit, 0), self.world)
        return move

    def top_up(self, one: Held, units: int, **changes: Any) -> Move:
        """A signed top-up."""
        move: Move = run(self.payer.top_up(challenge(self.terms(**changes)), one, units), self.world)
        return move

    def land(self, move: Move) -> None:
        """As a server does that pays no fees: send it."""
        raw = move.payload["transaction"]
        assert self.svm.rpc("sendTransaction", raw, {"encoding": "base64"})


@pytest.fixture
def lane(shared_svm: SvmChain, world: RealWorld) -> Lane:
    """Without a lamport."""
    return Lane(shared_svm, world)


@pytest.fixture
def rich(shared_svm: SvmChain, world: RealWorld) -> Lane:
    """With lamports, to pay for itself."""
    return Lane(shared_svm, world, lamports=SOL)


# --- what is signed --------------------------------------------------------------------------------


@pytest.mark.spec("SSES-014", "SSES-067", "SSES-110", "SSES-112", "SSES-113", "SSES-209", "SSES-220")
@pytest.mark.parametrize("sponsored", [True, False])
def test_an_opening_is_what_a_server_reads_to_the_last_byte(rich: Lane, sponsored: bool) -> None:
    """Blockhash and slot are those of the challenge, the channel is the one of its terms, and nothing else is in it."""
    splits = (Split(OTHER.address, 2_500),)
    fee_payer = SERVER.address if sponsored else None
    terms = rich.terms(fee_payer=fee_payer, splits=splits, idle_options_s=(60, 600))
    asked = challenge(terms)
    move = run(rich.payer.open(asked, rich.payer.terms(asked), DEPOSIT, 0), rich.world)
    shown = read_payload(move.payload, operator=False)
    assert isinstance(shown, OpenPayload)
    opening = read_opening(shown, terms, asked.id, int(terms.recent_slot or 0), 600)
    assert opening.channel_id == move.held.channel_id == read_record(move.held.state).id
    assert (opening.shape.transaction.blockhash, opening.call.seeds.open_slot) == (terms.blockhash, terms.recent_slot)
    assert (opening.call.rent_payer, opening.call.deposit_units) == (fee_payer or rich.key.address, DEPOSIT)
    assert (shown.idle_s, "voucher" in move.payload, move.held.signed_units) == (None, False, 0)
    assert "authentication" not in move.payload
    assert move.reference == (f"channel:{opening.channel_id}" if sponsored else opening.shape.transaction.signature)


@pytest.mark.spec("SSES-010")
def test_two_openings_are_two_channels(lane: Lane) -> None:
    """The salt is random."""
    terms = lane.terms()
    asked = challenge(terms)
    first, second = (run(lane.payer.open(asked, lane.payer.terms(asked), DEPOSIT, 0), lane.world) for _ in range(2))
    assert first.held.channel_id != second.held.channel_id


@pytest.mark.guard("T47")
def test_where_the_server_signs_the_deposit_is_the_owners_limit_and_all_of_it_authorized(
    shared_svm: SvmChain, world: RealWorld
) -> None:
    """More than the wallet allows for that is never signed for."""
    lane = Lane(shared_svm, world, operator="0.05")
    move = lane.open(operator=SERVER.address)
    shown = read_payload(move.payload, operator=True)
    assert isinstance(shown, OpenPayload)
    assert (shown.deposit_units, move.held.deposit_units, move.held.signed_units) == (50_000, 50_000, 50_000)
    assert shown.authentication is not None
    assert shown.authorized_signer == SERVER.address


def test_a_top_up_is_what_a_server_reads_to_the_last_byte(rich: Lane) -> None:
    """Two equal ones are two transactions, also on one blockhash."""
    opened = rich.open(fee_payer=None)
    rich.land(opened)
    newest = rich.terms()
    first, second = (
        rich.top_up(opened.held, 5, fee_payer=None, blockhash=newest.blockhash, recent_slot=newest.recent_slot)
        for _ in range(2)
    )
    for move in (first, second):
        shown = read_payload(move.payload, operator=False)
        assert isinstance(shown, TopUpPayload)
        assert read_topping_up(shown, read_record(opened.held.state), None).call.amount_units == 5
        rich.land(move)
    assert first.payload["transaction"] != second.payload["transaction"]
    assert run(rich.payer.look(opened.held), rich.world).deposit_units == DEPOSIT + 10


# --- what keeps it from signing ----------------------------------------------------------------------


@pytest.mark.guard("T47")
@pytest.mark.parametrize("off", [151, -400, 10**9])
def test_a_slot_far_from_our_nodes_is_not_signed(lane: Lane, off: int) -> None:
    """Its server is on another chain, or says what isn't so."""
    newest = int(lane.terms().recent_slot or 0)
    with pytest.raises(NoPayableOffer, match="too far apart"):
        lane.open(recent_slot=newest + off)


@pytest.mark.guard("T47")
def test_a_blockhash_that_our_node_does_not_know_is_not_signed(lane: Lane) -> None:
    """A transaction on another chain's blockhash could be taken there."""
    with pytest.raises(NoPayableOffer, match="doesn't know the server's blockhash"):
        lane.open(blockhash=OTHER.address)


@pytest.mark.parametrize(
    "changes",
    [
        {"blockhash": None, "recent_slot": None},
        {"blockhash": None, "recent_slot": None, "channel_id": OTHER.address, "idle_s": 60},
    ],
)
def test_an_opening_needs_what_it_is_built_on(lane: Lane, changes: dict[str, Any]) -> None:
    """A challenge that goes on with a channel opens none."""
    with pytest.raises(NoPayableOffer, match="take a fresh one"):
        lane.open(**changes)


@pytest.mark.parametrize(("deposit", "first"), [(PRICE - 1, 0), (DEPOSIT, 1)])
def test_amounts_that_contradict_each_other_are_a_mistake(lane: Lane, deposit: int, first: int) -> None:
    """An opening carries no voucher, and covers a unit."""
    asked = challenge(lane.terms())
    with pytest.raises(UsageError):
        run(lane.payer.open(asked, lane.payer.terms(asked), deposit, first), lane.world)


def test_less_than_the_server_takes_is_not_deposited(lane: Lane) -> None:
    """It would only refuse."""
    with pytest.raises(NoPayableOffer, match="takes deposits from"):
        lane.open(DEPOSIT, minimum_deposit_units=DEPOSIT + 1)


def test_more_than_the_account_has_is_not_signed(lane: Lane) -> None:
    """What is there and what is needed are named."""
    with pytest.raises(NoPayableOffer, match=rf"{lane.key.address} holds 1 USDC; 1\.000001 USDC are needed"):
        lane.open(DOLLAR + 1)


def test_an_account_that_pays_for_itself_needs_lamports(lane: Lane, rich: Lane) -> None:
    """For the fee and the rent of channel and escrow; no more than max_fee."""
    with pytest.raises(NoPayableOffer, match=r"holds 0 lamports; \d{7} are needed"):
        lane.open(fee_payer=None)
    rich.payer = replace(
        rich.payer, config=replace(rich.payer.config, wallet=replace(rich.wallet, max_fee_lamports=4_000_000))
    )
    with pytest.raises(NoPayableOffer, match="more than this wallet's max_fee"):
        rich.open(fee_payer=None)


def crowd(count: int) -> tuple[Split, ...]:
    """So many recipients."""
    return tuple(Split(Key(bytes([40 + each]) * 32).address, 1) for each in range(count))


@pytest.mark.spec("SSES-086", "SSES-167")
def test_an_opening_carries_so_many_splits_and_no_more(shared_svm: SvmChain, world: RealWorld) -> None:
    """Where all stands in it that can: the fee is another's, with a price, and a third signs the vouchers. The chain
    opens such a channel, within the units that it asks for; with one split more nothing is signed, and the limit told.
    """
    lane = Lane(shared_svm, world, operator="1")
    fees = Key(bytes(shared_svm.keypair().secret()))
    asked: dict[str, Any] = {"operator": OTHER.address, "fee_payer": fees.address}
    move = lane.open(splits=crowd(MAX_SPLITS), **asked)
    raw = base64.b64decode(move.payload["transaction"])
    assert MAX_BYTES - 34 < len(raw) <= MAX_BYTES
    sent = base64.b64encode(with_signature(raw, fees)).decode()
    assert shared_svm.rpc("sendTransaction", sent, {"encoding": "base64"})
    assert run(lane.payer.look(move.held), world).exists
    with pytest.raises(NoPayableOffer, match=f"among 16 recipients; an opening can't carry more than {MAX_SPLITS}"):
        lane.open(splits=crowd(MAX_SPLITS + 1), **asked)


def test_who_pays_for_itself_can_name_some_more(rich: Lane) -> None:
    """Its transaction has one signature and fewer accounts."""
    assert rich.open(fee_payer=None, splits=crowd(18)).held.deposit_units == DEPOSIT
    with pytest.raises(NoPayableOffer, match="among 32 recipients"):
        rich.open(fee_payer=None, splits=crowd(32))


@pytest.mark.guard("T29")
@pytest.mark.spec("SSES-072", "SSES-268")
@pytest.mark.parametrize(
    ("mint", "why"),
    [
        ({"decimals": 9}, "not the one that this wallet knows"),
        ({"programId": TOKEN_PROGRAM}, "not the one that this wallet knows"),
        ({"extensions": "0300" + "2000" + "11" * 32}, "an extension that channels don't take"),
        (None, "no such token"),
    ],
)
def test_a_token_is_what_the_chain_says_it_is(lane: Lane, mint: dict[str, Any] | None, why: str) -> None:
    """Decimals, program, and no extension but those that channels take (here: a mint that can be closed)."""
    token = Key(Key(bytes(32)).sign(lane.key.address.encode())[:32]).address
    own = Token(TOKEN_2022_PROGRAM, 6, "OWN")
    lane.wallet = replace(lane.wallet, tokens={token: own})
    lane.payer = replace(lane.payer, config=replace(lane.payer.config, wallet=lane.wallet))
    if mint is not None:
        lane.svm.rpc("svm_setMint", token, {"decimals": 6, "programId": TOKEN_2022_PROGRAM, **mint})
    asked = challenge(replace(_plain(lane), asset=asset(lane.network, token, own)))
    with pytest.raises(NoPayableOffer, match=why):
        run(lane.payer.open(asked, lane.payer.terms(asked), DEPOSIT, 0), lane.world)


def _plain(lane: Lane) -> SessionTerms:
    newest = lane.svm.rpc("getLatestBlockhash")
    return replace(
        TERMS,
        fee_payer=SERVER.address,
        blockhash=str(newest["value"]["blockhash"]),
        recent_slot=int(newest["context"]["slot"]),
    )


def test_a_frozen_account_pays_nothing(lane: Lane) -> None:
    """Told before anything is signed."""
    lane.svm.rpc("surfnet_setTokenAccount", lane.key.address, USDC, {"state": "frozen"})
    with pytest.raises(NoPayableOffer, match="frozen"):
        lane.open()


@pytest.mark.spec("SSES-217")
def test_a_closing_channel_is_not_topped_up(rich: Lane) -> None:
    """Nor one beyond the owner's limit, nor of other terms."""
    opened = rich.open(fee_payer=None)
    rich.land(opened)
    with pytest.raises(NoPayableOffer, match="does not pay what this challenge asks"):
        rich.top_up(opened.held, 5, recipient=OTHER.address)
    with pytest.raises(UsageError):
        rich.top_up(opened.held, 0)
    run(rich.payer.send(run(rich.payer.request_close(opened.held), rich.world).raw), rich.world)
    with pytest.raises(NoPayableOffer, match="asked for already"):
        rich.top_up(opened.held, 5)


@pytest.mark.guard("T47")
def test_a_channel_whose_server_signs_is_not_topped_up_beyond_the_limit(shared_svm: SvmChain, world: RealWorld) -> None:
    """The owner's limit is for the whole of it."""
    lane = Lane(shared_svm, world, lamports=SOL, operator="0.05")
    opened = lane.open(fee_payer=None, operator=SERVER.address)
    lane.land(opened)
    with pytest.raises(NoPayableOffer, match="operator_deposit"):
        lane.top_up(opened.held, 1, operator=SERVER.address)


def test_what_is_signed_is_signed_by_this_account_only(lane: Lane) -> None:
    """Whoever pays the fee signs later, and is asked for nothing else."""
    raw = base64.b64decode(lane.open().payload["transaction"])
    transaction = read_transaction(raw)
    assert transaction.unsigned == (SERVER.address,)
    assert transaction.signers == (SERVER.address, lane.key.address)
    assert derive_ata(lane.key.address, USDC, TOKEN_PROGRAM) in {each.address for each in transaction.accounts}
    assert PAYEE.address in {each.address for each in transaction.accounts}
    assert PYUSD not in {each.address for each in transaction.accounts}
