"""What a payment method is to the house, and how one is found.

A method is an object published under the entry-point group `coinslot.methods` whose name is the method's name on the
wire. It publishes typed settings for both sides, so that programs learn flags and configuration fields from it. It
computes and asks for effects; it never records (stores belong to the roles) and never sees HTTP.

A seller of charges goes through `offer`, `terms`, `check`, `prepare`, `broadcast`, `confirm`; a payer through `terms`,
`pay`, and `send` where it moves the money itself. Those of sessions read and verify vouchers without any effect, and
move money as a charge does. All of the verbs that touch a chain are flows (see drive.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from importlib.metadata import entry_points
from typing import Any, Protocol, TypeAlias, TypeGuard

import msgspec

from coinslot.core.challenge import Challenge
from coinslot.core.credential import Credential
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow
from coinslot.errors import ConfigError, Problem
from coinslot.intents import acts, charge, session
from coinslot.intents.charge import Checked, Outcome, Prepared, Recognised, Terms
from coinslot.money import Asset

GROUP = "coinslot.methods"


@dataclass(frozen=True, slots=True)
class Extras:
    """What one price may add to an offer; all of it optional. `splits` are (recipient, decimal share of the price)."""

    description: str | None = None
    external_id: str | None = None
    splits: tuple[tuple[str, Decimal], ...] = ()


class ChargeSeller(Protocol):
    """The server's side of a method's charge, for one chain, asset and recipient."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def intent(self) -> str:
        """Always "charge"."""

    def offer(self, price: Decimal, extras: Extras) -> Mapping[str, Any]:
        """The request object for a price in whole tokens, rounded up to base units. Pure: no effects.

        Raises UsageError for a price this method can't ask (too small, too large, splits that don't fit).
        """

    def terms(self, request: Mapping[str, Any]) -> Terms:
        """Read back a request that we once bound. Raises InvalidChallenge if it is not this seller's (chain, asset)."""

    def complete(self, request: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
        """A request of `offer` with what only the chain knows at this moment, or that very object where it needs none.

        It is asked for each challenge, so what was learnt is kept as long as it is good. Raises ChainError.
        """

    def check(self, recognised: Recognised) -> Flow[Checked]:
        """Whether the proof is good. Nothing moves. Raises a Problem (VerificationFailed ...) or ChainError."""

    def prepare(self, checked: Checked) -> Flow[Prepared]:
        """What will be broadcast and its hash: co-sign, simulate. Nothing moves.

        Raises VerificationFailed if the chain would refuse it, ChainError if it can't be asked.
        """

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """The only irreversible act; the same bytes may be sent again. Raises ChainError: then only confirm knows."""

    def confirm(self, prepared: Prepared) -> Flow[Outcome]:
        """What the chain says now. Refused only if it can never be paid any more. Raises ChainError."""


@dataclass(frozen=True, slots=True)
class Sending:
    """A signed transaction that its payer sends itself. `valid_until` is how long the chain may take it, in the chain's
    own measure (seconds since 1970, or a height): only the method reads it.
    """

    raw: bytes = field(repr=False)
    valid_until: int


@dataclass(frozen=True, slots=True)
class Presentation:
    """What a payer presents: the proof, who pays, and what to look up if the answer is lost (None: nothing moves).

    `sending`: what must be on the chain before this is presented (a payment that is pushed).
    """

    payload: Mapping[str, Any] = field(repr=False)
    source: str
    reference: str | None
    sending: Sending | None = None


class Fate(StrEnum):
    """What became of a payment that its payer sent itself, by the chain's own word."""

    LANDED = "landed"  # it is on the chain, and paid
    DEAD = "dead"  # it moved nothing, and proven so: it never will
    OPEN = "open"  # the chain doesn't show it, and may still take it


class ChargePayer(Protocol):
    """The client's side of a method's charge, for one wallet."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def intent(self) -> str:
        """Always "charge"."""

    def terms(self, challenge: Challenge) -> Terms:
        """What a challenge asks, pinned to what this payer knows (chain, tokens). Raises NoPayableOffer."""

    def source(self) -> str:
        """Who pays, as credentials say it."""

    def pushes(self, terms: Terms) -> bool:
        """Whether `pay` leaves something to `send` under these terms. Pure. Raises NoPayableOffer."""

    def pay(self, challenge: Challenge, terms: Terms) -> Flow[Presentation]:
        """Build and sign the proof. Nothing is sent: write `sending` down first. Raises NoPayableOffer, ChainError."""

    def send(self, sending: Sending, *, again: bool) -> Flow[None]:
        """Send what `pay` signed, and wait until the chain shows it. `again`: it may have been sent before; the same
        bytes pay once.

        Raises NoPayableOffer where it is proven that nothing moved and nothing will, else PaymentOutcomeUnknown.
        """

    def look(self, sending: Sending) -> Flow[Fate]:
        """What became of what `pay` signed. Nothing is sent. Raises ChainError: nobody knows."""


class SessionSeller(Protocol):
    """The server's side of a method's sessions, for one chain, escrow, asset and recipient.

    What is read and verified costs microseconds and has no effect; only what moves money asks the chain.
    """

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def intent(self) -> str:
        """Always "session"."""

    @property
    def network(self) -> str:
        """The CAIP-2 id of the network that channels of this seller live on."""

    @property
    def grace_s(self) -> float:
        """How long after asking the chain to close a payer must wait before it takes the rest back."""

    def offer(self, price: Decimal, extras: Extras, tariff: acts.Tariff) -> Mapping[str, Any]:
        """The request object for a price per unit in whole tokens, rounded up to base units. Raises UsageError."""

    def terms(self, request: Mapping[str, Any]) -> acts.Terms:
        """Read back a request that we once bound. Raises InvalidChallenge if it is not this seller's."""

    def complete(self, request: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
        """As ChargeSeller.complete; the request is of `offer` or `suggest`."""

    def rules(self, terms: acts.Terms) -> session.Rules:
        """The engine's rules for channels under these terms."""

    def suggest(self, request: Mapping[str, Any], channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """The same request with a hint to go on with a channel, and the least total that the next voucher must say."""

    def headers(self, channel: session.Channel, required_units: int) -> tuple[tuple[str, str], ...]:
        """What to say of a channel in headers of an answer to its payer, whose signature was verified."""

    # --- vouchers

    def read(self, payload: Mapping[str, Any], terms: acts.Terms) -> acts.Presented:
        """Read a payload: its shape, and that the channel it names is under these terms, as far as its id tells.

        Raises MalformedCredential, VerificationFailed (a Problem).
        """

    def read_voucher(self, payload: bytes, terms: acts.Terms) -> acts.Presented | None:
        """What `read` makes of the voucher in this JSON, or None for all that `read` shall look at: a short way for the
        plainest spelling of what comes again and again. Raises what `read` raises.
        """

    def verify(self, presented: acts.Presented, channel: session.Channel, claimed: acts.Claimed, at_s: float) -> None:
        """That who may speak for this channel did: the signer by our record of it (never from a request) signed the
        voucher, in a form that the chain would take; or, for a USE, its payer proves who it is. Of the record only
        what never changes counts: signer, payer, state. `claimed` is the credential that brought it. Raises
        InvalidVoucher, SignerMismatch, or another Problem. T13 T15
        """

    def takes(self, channel: session.Channel, terms: acts.Terms) -> bool:
        """Whether what is signed under these terms can be collected from this recorded channel: the same network,
        escrow, protocol, asset and recipient. Pure. T03 T07
        """

    # --- money into a channel

    def check(
        self, presented: acts.Presented, claimed: acts.Claimed, channel: session.Channel | None
    ) -> Flow[acts.Funding]:
        """Whether an open or top-up is good. Nothing moves. `channel` is our record for a top-up.

        Raises a Problem or ChainError.
        """

    def prepare(self, funding: acts.Funding, challenge: Challenge) -> Flow[Prepared]:
        """What will be broadcast: co-signed, simulated. Nothing moves. `challenge` is the one to record it under.

        Raises VerificationFailed, PaymentInsufficient, RailUnavailable, ChainError.
        """

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """Send it; the same bytes may be sent again. Raises ChainError: then only confirm knows."""

    def confirm(self, prepared: Prepared) -> Flow[acts.FundingOutcome]:
        """What the chain says now. Refused only if it can never happen any more. Raises ChainError."""

    # --- money out of channels

    def serves(self, channel: session.Channel) -> bool:
        """Whether a recorded channel is one of this seller's: its network, escrow, asset and recipient. Pure."""

    def look(self, channels: Sequence[session.Channel]) -> Flow[Sequence[acts.OnChain]]:
        """These channels as the chain has them at its newest block, in the same order. Raises ChainError."""

    def open_keys(self) -> Flow[frozenset[str] | None]:
        """The keys of all channels that the chain shows open for this recipient, asset and escrow, whoever sells from
        them; None where the chain can't be asked that. Raises ChainError.
        """

    def pay_out(self, jobs: Sequence[tuple[session.Channel, session.Close, bool]]) -> Flow[acts.Sendable]:
        """One signed transaction that settles (or, where the flag says so, closes) these channels, all or none.

        A channel that the chain would refuse now may be left out of it, so that it doesn't hold up the others;
        `paid_out` then tells Refused. Nothing is sent. Raises UsageError for more than `batch` of them,
        VerificationFailed if the chain would refuse them all, ChainError (nothing was decided: try again later).
        """

    @property
    def batch(self) -> int:
        """How many channels one transaction can settle or close."""

    def send(self, raw: bytes) -> Flow[None]:
        """Broadcast what pay_out made. Raises ChainError: then only `paid_out` knows."""

    def paid_out(
        self, channel: session.Channel, close: session.Close, closes: bool, sent: acts.Sendable
    ) -> Flow[acts.JobOutcome]:
        """What became of one channel of a pay_out. Raises ChainError."""

    def idle_s(self, channel: session.Channel) -> float | None:
        """After how long without use this channel is to be closed, where that was agreed; None: as others are."""

    @property
    def credit_units(self) -> int:
        """What a channel may owe for streams that come before they are paid, in base units; 0: nothing comes so."""

    def collectable_until_s(self, channel: session.Channel) -> float | None:
        """Until when the highest voucher on record can be settled, seconds since 1970; None: for ever."""

    def tidy(self) -> Flow[int]:
        """Collect what closed channels left on the chain (rent, for example). How many; the same again does no harm.

        Raises ChainError, or a Problem.
        """

    # --- what is told

    def named(self, problem: Problem) -> Problem:
        """A problem under the name that the method's document gives it; most keep theirs."""

    def receipt(
        self, channel: session.Channel, challenge_id: str, at_s: float, units: int | None, reference: str | None
    ) -> Receipt:
        """A receipt that tells how a channel stands; `units` is what this request took, `reference` a transaction."""

    def need(self, channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """What a stream that ran dry tells its client."""


class SessionPayer(Protocol):
    """The client's side of a method's sessions, for one wallet. It signs what it is told; limits are the purse's."""

    @property
    def method(self) -> str:
        """The method's name."""

    @property
    def intent(self) -> str:
        """Always "session"."""

    @property
    def network(self) -> str:
        """The CAIP-2 id of the network whose channels it can speak for."""

    @property
    def account(self) -> str:
        """Who pays, in the method's canonical spelling."""

    @property
    def opens_signed(self) -> bool:
        """Whether an opening carries a first voucher; else it buys nothing, and vouchers come after it."""

    def signs(self, held: acts.Held) -> bool:
        """Whether this channel's vouchers are ours to sign. Where they are its payee's, `open` gives a record that
        authorizes the whole deposit, and requests present a proof of who pays.
        """

    def terms(self, challenge: Challenge) -> acts.Terms:
        """What a challenge asks, pinned to what this payer knows: chain, escrow, tokens. Raises NoPayableOffer. T47"""

    def most_units(self, terms: acts.Terms) -> int | None:
        """The most that a channel under these terms may hold by this wallet's own settings; None: they don't say."""

    def require_openable(self, terms: acts.Terms) -> None:
        """That anything may be deposited under these terms, where the owner allows less than can be paid. Channels that
        are open are closed all the same. Raises NoPayableOffer.
        """

    def source(self) -> str:
        """Who pays, as credentials say it."""

    def fits(self, held: acts.Held, terms: acts.Terms) -> bool:
        """Whether this channel of ours can pay these terms (same escrow, payee, asset, operator; our key)."""

    def open(self, challenge: Challenge, terms: acts.Terms, deposit_units: int, first_units: int) -> Flow[acts.Move]:
        """Sign the opening of a new channel and its first voucher, of `first_units` (0: none). Nothing is sent: write
        `move.held` down first. Raises NoPayableOffer, ChainError.
        """

    def top_up(self, challenge: Challenge, held: acts.Held, additional_units: int) -> Flow[acts.Move]:
        """Sign an addition to the deposit. Nothing is sent. Raises NoPayableOffer, ChainError."""

    def sign(self, held: acts.Held, total_units: int) -> bytes:
        """A signed voucher for that total. Pure: write it down before it is sent. Raises UsageError."""

    def payload(self, held: acts.Held, act: acts.Act, total_units: int, voucher: bytes) -> Mapping[str, Any]:
        """What presents a signed voucher, or a proof, to buy (VOUCHER, USE) or to close (CLOSE)."""

    def echoed(self, held: acts.Held, challenge: Challenge) -> Challenge:
        """The challenge that a request from this channel echoes: the one at hand, or the one that opened the channel,
        where a proof belongs to that.
        """

    # --- what a server says, and what the chain says

    def hint(
        self, challenge: Challenge, terms: acts.Terms, fields: Mapping[str, str], held: acts.Held | None
    ) -> acts.Held | None:
        """The channel that a server suggests to go on with, if it can be believed: ours, under these terms, claiming no
        more than we signed (by `held`, or by our own signature in it). `fields` are the answer's headers, lower-case.
        None where there is none. Raises NoPayableOffer for one that can't be true. T24
        """

    def balance(self, receipt: Receipt) -> acts.Balance:
        """What a receipt says of a channel. Raises MalformedHeader."""

    def needed(self, told: Mapping[str, Any]) -> acts.Balance:
        """What a stream that ran dry asks for. Raises MalformedHeader."""

    def look(self, held: acts.Held) -> Flow[acts.OnChain]:
        """The channel as the chain has it. Raises ChainError."""

    def find(self, since_s: float) -> Flow[Sequence[acts.Held]]:
        """Channels of ours that the chain knows, opened since then. Raises ChainError."""

    # --- without the server's help

    def request_close(self, held: acts.Held) -> Flow[acts.Sendable]:
        """Sign the request to close. Nothing is sent. Raises NoPayableOffer, ChainError."""

    def withdraw(self, held: acts.Held) -> Flow[acts.Sendable]:
        """Sign the withdrawal of the rest, possible `withdraw_after_s` after the request. Nothing is sent."""

    def withdraw_after_s(self, held: acts.Held) -> float:
        """How long after a request to close to wait before withdrawing, by the chain's clock."""

    def left(self, known: Sequence[acts.Held]) -> Flow[acts.Left]:
        """What channels that are over still hold of this account's own besides deposits, by the chain; `known` are
        ended ones of the book. Raises ChainError.
        """

    def collect(self, left: acts.Left) -> Flow[Sequence[acts.Sendable]]:
        """Sign what brings that back, but for what the chain would refuse now. Nothing is sent. Raises NoPayableOffer,
        ChainError.
        """

    def send(self, raw: bytes) -> Flow[None]:
        """Broadcast what was signed, and wait until the chain shows it or does not. Raises ChainError."""


Seller: TypeAlias = ChargeSeller | SessionSeller
Payer: TypeAlias = ChargePayer | SessionPayer


def sells_sessions(seller: Seller) -> TypeGuard[SessionSeller]:
    """Whether a seller is one of sessions."""
    return seller.intent == session.INTENT


def sells_charges(seller: Seller) -> TypeGuard[ChargeSeller]:
    """Whether a seller is one of charges."""
    return seller.intent == charge.INTENT


def pays_charges(payer: Payer) -> TypeGuard[ChargePayer]:
    """Whether a payer is one of charges."""
    return payer.intent == charge.INTENT


def pays_sessions(payer: Payer) -> TypeGuard[SessionPayer]:
    """Whether a payer is one of sessions."""
    return payer.intent == session.INTENT


class Sessions(Protocol):
    """What a method publishes as `sessions` if it can be paid through channels; the same settings."""

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[SessionSeller]]:
        """Sellers of sessions, none where the settings don't ask for them. Raises as Method.sellers does."""

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[SessionPayer]]:
        """Payers of sessions. Raises as Method.payers does."""


@dataclass(frozen=True, slots=True)
class Holding:
    """What an address owns of one asset, in base units."""

    asset: Asset
    amount_units: int


class Keyed(Protocol):
    """What a method publishes as `keys` if its payers sign with a key of 32 bytes that a wallet can keep.

    A private key is text here: "0x" and 64 hex digits; the method's Wallet settings take it as `private_key`. An
    address is in the method's canonical spelling.
    """

    def new_key(self) -> Flow[str]:
        """A fresh private key from the world's randomness."""

    def address_of(self, private_key: str) -> str:
        """The address that a private key signs for. Raises UsageError, which never repeats the key."""

    def read_key(self, text: str) -> str:
        """A key that another program of the chain wrote, in our spelling; a text that is none as it is.

        Raises UsageError, which never repeats the key.
        """

    def balances(self, rpc_url: str, address: str, assets: Sequence[str]) -> Flow[Sequence[Holding]]:
        """What an address owns of these assets, or of those the method knows. Raises UsageError, ChainError."""

    def chain_time_s(self, rpc_url: str) -> Flow[float]:
        """The time of the newest block, seconds since 1970. Raises ChainError."""


class Method(Protocol):
    """What is published. `Accept` and `Wallet` are Structs whose fields, types, defaults and docs are the settings."""

    @property
    def name(self) -> str:
        """The name on the wire: lower-case letters."""

    @property
    def Accept(self) -> type[msgspec.Struct]:
        """Settings of a seller: the fields of one [[accept]] table."""

    @property
    def Wallet(self) -> type[msgspec.Struct]:
        """Settings of a payer."""

    @property
    def keys(self) -> Keyed | None:
        """What it knows about keys; None if it has none that a wallet could keep."""

    @property
    def sessions(self) -> Sessions | None:
        """What it has for sessions; None if it can't be paid through channels."""

    def sellers(self, accept: msgspec.Struct) -> Flow[Sequence[ChargeSeller]]:
        """Sellers for these settings; asks the chain who it is. Raises ConfigError, MissingDependency, ChainError."""

    def payers(self, wallet: msgspec.Struct) -> Flow[Sequence[ChargePayer]]:
        """Payers for these settings. Raises ConfigError, MissingDependency, ChainError."""

    def read_terms(self, request: Mapping[str, Any]) -> Terms:
        """The terms of any request object of its charges, for lists and reports; asks no chain. Raises UsageError."""

    def known_asset(self, key: str) -> Asset | None:
        """What it vouches for of an asset, by its ledger key; asks no chain. None for one that it doesn't know."""


def installed() -> list[str]:
    """The names of the methods that can be loaded, sorted."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def load(name: str) -> Method:
    """The method of that name. Raises ConfigError naming what is installed, or MissingDependency of the method."""
    for point in entry_points(group=GROUP, name=name):
        method: Method = point.load()
        return method
    raise ConfigError(f"no payment method is called {name!r}; installed: {', '.join(installed()) or 'none'}")


def keys_of(method: Method) -> Keyed:
    """What a method publishes about keys. Raises ConfigError if it has none that a wallet could keep."""
    if method.keys is None:
        raise ConfigError(f"payment method {method.name!r} has no keys that a wallet could keep")
    return method.keys


def sellers_of(method: Method, accept: msgspec.Struct) -> Flow[Sequence[Seller]]:
    """All sellers that a method makes of these settings: of charges, then of sessions. Raises as both do."""
    sellers: list[Seller] = list((yield from method.sellers(accept)))
    if method.sessions is not None:
        sellers += yield from method.sessions.sellers(accept)
    return sellers


def presented(seller: SessionSeller, credential: Credential, terms: acts.Terms) -> acts.Presented:
    """The act of a credential, by the short way where there is one. Raises what `read` raises."""
    found = seller.read_voucher(credential.payload, terms)
    return seller.read(credential.payload_object(), terms) if found is None else found


def known_asset(method: Method, key: str) -> Asset:
    """What a method vouches for of an asset, by its ledger key; of one that it doesn't know only its place."""
    found = method.known_asset(key)
    if found is not None:
        return found
    network, _, name = key.rpartition("/")
    return Asset(network, name)
