"""The server's side of Tempo sessions, of either protocol: what is asked, what is presented, what is done and told.

    vouchers          read, verify            microseconds; no chain, no store
    money in          check ... confirm       funding.py: open and topUp, broadcast by us
    money out         pay_out, paid_out       payout.py: settle and close, many channels in one transaction
    what was missed   look                    looking.py

A channel on record carries all that is needed to speak of it (record.py), so a seller can settle and close channels
of earlier settings too: another escrow, the other protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar

from coinslot.core.challenge import Challenge
from coinslot.core.instant import format_instant
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, now
from coinslot.errors import (
    ChannelNotFound,
    InvalidChallenge,
    PaymentInsufficient,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import acts, session
from coinslot.intents.charge import Prepared
from coinslot.intents.dry import NeedVoucher
from coinslot.method import Extras
from coinslot.methods.tempo.paying import NAME
from coinslot.methods.tempo.session import payout
from coinslot.methods.tempo.session.channel import StreamChannel
from coinslot.methods.tempo.session.escrow import CLOSE_GRACE_S, V1, Escrow
from coinslot.methods.tempo.session.funding import (
    Handed,
    channel_key,
    check_handed,
    confirm_funded,
    preflight_handed,
)
from coinslot.methods.tempo.session.looking import look
from coinslot.methods.tempo.session.payload import (
    ClosePayload,
    OpenPayload,
    Payload,
    TopUpPayload,
    VoucherPayload,
    read_known_voucher,
    read_payload,
)
from coinslot.methods.tempo.session.receipt import SessionReceipt
from coinslot.methods.tempo.session.record import Recorded, read_record, record, scheme_of
from coinslot.methods.tempo.session.snapshot import CHANNEL_HEADER, SNAPSHOT_HEADER, HighestVoucher, Snapshot
from coinslot.methods.tempo.session.terms import (
    SessionTerms,
    read_session_terms,
    require_parties,
    write_session_request,
)
from coinslot.methods.tempo.session.transaction import Opening, ToppingUp, read_opening, read_top_up
from coinslot.methods.tempo.session.voucher import VoucherScheme
from coinslot.methods.tempo.settle import broadcast_raw
from coinslot.methods.tempo.source import require_source
from coinslot.methods.tempo.sponsor import Sponsor
from coinslot.methods.tempo.tokens import asset as asset_of
from coinslot.methods.tempo.tokens import network, pinned
from coinslot.money import Asset, to_units
from coinslot.plain import PlainSessionSeller

_ACTS: Mapping[type[Payload], acts.Act] = {
    OpenPayload: acts.Act.OPEN,
    TopUpPayload: acts.Act.TOP_UP,
    VoucherPayload: acts.Act.VOUCHER,
    ClosePayload: acts.Act.CLOSE,
}


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """A seller's settings, parsed and completed by the chain; see settings.Accept. Amounts are base units.

    `payer` signs and pays for settlements. `sponsor` pays the fees of open and topUp.
    """

    rpc_url: str = field(repr=False)  # providers put keys into it
    escrow: Escrow
    asset: Asset
    recipient: str
    operator: str
    payer: payout.Payer
    min_delta_units: int
    min_deposit_units: int
    suggested_deposit_units: int | None
    simulate: bool
    confirmations: int
    lag_s: int
    sponsor: Sponsor | None


@dataclass(frozen=True, slots=True)
class TempoSessionSeller(PlainSessionSeller):
    """Takes sessions in one token on one escrow for one recipient."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = session.INTENT
    config: SessionConfig
    _scheme: VoucherScheme = field(init=False, repr=False)
    _network: str = field(init=False, repr=False)
    _prefix: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Compute what never changes."""
        object.__setattr__(self, "_scheme", scheme_of(self.config.escrow))
        object.__setattr__(self, "_network", network(self.config.escrow.chain_id))
        object.__setattr__(self, "_prefix", f"{self._network}/")

    @property
    def network(self) -> str:
        """The CAIP-2 id of the chain."""
        return self._network

    @property
    def grace_s(self) -> float:
        """Both escrows let a payer withdraw a quarter of an hour after it asked to close."""
        return float(CLOSE_GRACE_S)

    # --- what is asked ---------------------------------------------------------------------------

    def offer(self, price: Decimal, extras: Extras, tariff: acts.Tariff) -> Mapping[str, Any]:
        """The request object (TSES "Request Schema"): the price of one unit. Raises UsageError."""
        config = self.config
        if extras.splits:
            raise UsageError("a channel has one payee: a session's price can't be split")
        decimals = config.asset.decimals or 0
        amount, suggested = to_units(price, decimals), config.suggested_deposit_units
        if tariff.suggested_deposit is not None:
            suggested = to_units(tariff.suggested_deposit, decimals)
        if suggested is not None or config.min_deposit_units:  # TSES-033: who follows it is never refused
            suggested = max(suggested or 0, config.min_deposit_units, amount)
        request = write_session_request(
            SessionTerms(
                escrow=config.escrow,
                asset=config.asset,
                recipient=config.recipient,
                amount_units=amount,
                unit_type=tariff.unit_type,
                suggested_deposit_units=suggested,
                operator=config.operator,
                min_voucher_delta_units=config.min_delta_units,
                sponsored=config.sponsor is not None,
            )
        )
        if extras.external_id is not None:
            request["externalId"] = extras.external_id
        if extras.description is not None:
            request["description"] = extras.description
        return request

    def terms(self, request: Mapping[str, Any]) -> SessionTerms:
        """The terms of a request that we bound. Raises InvalidChallenge unless they are this seller's."""
        terms, config = self._read_terms(request), self.config
        for wrong, reason in (
            (terms.escrow != config.escrow, "protocol, chain or escrow"),  # T07
            (terms.token != config.asset.id, "currency"),
            (terms.recipient != config.recipient or terms.operator != config.operator, "recipient or operator"),
        ):
            if wrong:
                raise InvalidChallenge(f"the challenge is for another {reason}")
        return replace(terms, asset=config.asset)

    def _read_terms(self, request: Mapping[str, Any]) -> SessionTerms:
        try:
            return read_session_terms(request, _asset)
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None

    def rules(self, terms: acts.Terms) -> session.Rules:
        """v1 takes what a voucher says and refuses lower ones; v2 takes what was spent and passes them over."""
        mine = _own(terms)
        v1 = mine.version == V1
        return session.Rules(
            bits=mine.version.amount_bits,
            equal=session.Repeat.IGNORE,
            lower=session.Repeat.REFUSE if v1 else session.Repeat.IGNORE,
            min_delta_units=mine.min_voucher_delta_units,
            capture=session.Capture.VOUCHER if v1 else session.Capture.SPENT,
        )

    # --- vouchers --------------------------------------------------------------------------------

    def read(self, payload: Mapping[str, Any], terms: acts.Terms) -> acts.Presented:
        """The act of a payload: its shape, and for v2 that the channel is between these terms' parties.

        Of a v1 channel only the id is known here; whose it is stands in our record. Raises MalformedCredential,
        VerificationFailed.
        """
        mine = _own(terms)
        return self._presented(read_payload(payload, mine.escrow), mine)

    def read_voucher(self, payload: bytes, terms: acts.Terms) -> acts.Presented | None:
        """The same from the JSON itself, for vouchers of a channel that were seen before; None: `read` is to look.

        Raises VerificationFailed.
        """
        mine = _own(terms)
        known = read_known_voucher(payload, mine.escrow)
        return None if known is None else self._presented(known, mine)

    def _presented(self, shown: Payload, mine: SessionTerms) -> acts.Presented:
        channel = shown.channel
        if channel.descriptor is not None:
            require_parties(channel.descriptor, mine)  # TSES-117
        voucher = None
        if not isinstance(shown, TopUpPayload):
            voucher = session.Voucher(channel.id, shown.cumulative_units, shown.signature)
        return acts.Presented(_ACTS[type(shown)], self._prefix + channel.id, channel.id, voucher, shown)

    def verify(self, presented: acts.Presented, channel: session.Channel, claimed: acts.Claimed, at_s: float) -> None:
        """That its signer signed this voucher in a form that the chain takes. Raises InvalidVoucher, SignerMismatch."""
        voucher = presented.voucher
        if voucher is None:
            raise UsageError("a top-up carries no voucher")
        self._scheme.verify(voucher.channel, voucher.amount_units, voucher.raw, channel.signer)  # T13 T15

    def takes(self, channel: session.Channel, terms: acts.Terms) -> bool:
        """Whether a recorded channel is on these terms' escrow and pays them. A voucher that was signed for another
        escrow, or under the other protocol, may name this channel and be signed by its signer; nobody could ever
        settle it. Raises UsageError for a record that can't be read.
        """
        mine = _own(terms)
        place = (channel.method, channel.network, channel.asset, channel.payee)
        if place != (NAME, self.network, mine.asset.key, mine.recipient):
            return False
        return read_record(channel.state).ref.escrow == mine.escrow  # T07

    # --- money into a channel --------------------------------------------------------------------

    def check(
        self, presented: acts.Presented, claimed: acts.Claimed, channel: session.Channel | None
    ) -> Flow[acts.Funding]:
        """Whether an open or top-up is good (TSES "Open Verification", "TopUp Verification"). Nothing moves.

        Raises VerificationFailed, PaymentInsufficient, AmountExceedsDeposit, InvalidVoucher, SignerMismatch,
        ChannelNotFound, RailUnavailable, ChainError.
        """
        shown, terms = presented.evidence, _own(claimed.terms)
        times = ((yield from now()), claimed.expires_at_s)
        first: session.Channel | None = None
        asked: Opening | ToppingUp
        if isinstance(shown, OpenPayload):
            asked = read_opening(shown, terms, self._scheme, times)
            if asked.deposit_units < self.config.min_deposit_units:  # T26
                least = self.config.asset.text(self.config.min_deposit_units)
                raise PaymentInsufficient(f"a channel is taken with a deposit of {least} or more")
            first = self._first(asked, terms, times[0])
        elif isinstance(shown, TopUpPayload):
            if channel is None:
                raise ChannelNotFound("no channel of this id is known here", channel_id=presented.channel_id)
            _require_record(channel, presented, terms)
            asked = read_top_up(shown, terms, channel.payer, times)
        else:
            raise UsageError("neither an open nor a top-up")
        payer = asked.signed.sender
        require_source(claimed.credential, terms.escrow.chain_id, payer)
        handed = yield from check_handed(self.config.rpc_url, asked, terms, self.config.sponsor, times[0])
        sponsor = self.config.sponsor if terms.sponsored else None
        budgets = () if sponsor is None else sponsor.budgets(asked.signed.transaction, payer)  # T31
        proof = f"{self.network}/tx/{handed.hash}"  # T06: the name under which a charge would use it up
        return acts.Funding(presented.act, presented.key, payer, proof, first, handed, budgets)

    def _first(self, opening: Opening, terms: SessionTerms, at_s: float) -> session.Channel:
        """The record of a channel that is about to be opened."""
        stands_for = opening.channel.descriptor or StreamChannel(
            opening.payer, terms.recipient, terms.token, opening.salt, opening.authorized_signer
        )
        return session.Channel(
            key=channel_key(opening.channel),
            id=opening.channel.id,
            network=self.network,
            method=NAME,
            payer=opening.payer,
            payee=terms.recipient,
            signer=opening.signer,
            asset=terms.asset.key,
            deposit=opening.deposit_units,
            accepted=opening.cumulative_units,
            voucher=opening.signature,
            state=record(terms.escrow, stands_for).encode(),
            opened_at_s=at_s,
            used_at_s=at_s,
        )

    def prepare(self, funding: acts.Funding, challenge: Challenge) -> Flow[Prepared]:
        """The final bytes and their hash, simulated as they will be sent.

        Raises VerificationFailed, PaymentInsufficient, RailUnavailable, ChainError.
        """
        handed = funding.evidence
        if not isinstance(handed, Handed):
            raise UsageError("not what check made")
        terms = self._terms_of(challenge)
        if self.config.simulate or terms.sponsored:
            yield from preflight_handed(self.config.rpc_url, handed, terms)
        dead_after_s = float(handed.asked.signed.transaction.valid_before or 0)
        return Prepared(challenge, funding.payer, funding.proof, handed.hash, handed.raw, dead_after_s)

    def _terms_of(self, challenge: Challenge) -> SessionTerms:
        """The terms of an act under way, also if the settings changed since. Raises InvalidChallenge."""
        return self._read_terms(challenge.request_object())

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """Send the bytes. Raises RpcUnreachable, RpcRefused; then only confirm knows."""
        yield from broadcast_raw(self.config.rpc_url, prepared.raw)

    def confirm(self, prepared: Prepared) -> Flow[acts.FundingOutcome]:
        """What the chain says now, with nothing but what was prepared. Raises ChainError."""
        config = self.config
        return (
            yield from confirm_funded(
                config.rpc_url,
                prepared,
                self._terms_of(prepared.challenge),
                confirmations=config.confirmations,
                lag_s=config.lag_s,
            )
        )

    # --- money out of channels -------------------------------------------------------------------

    def serves(self, channel: session.Channel) -> bool:
        """Whether we can settle and close a recorded channel, by the rules of our protocol; on any escrow of it."""
        place = (channel.method, channel.network, channel.asset, channel.payee)
        if place != (NAME, self.network, self.config.asset.key, self.config.recipient):
            return False
        return read_record(channel.state).ref.escrow.version == self.config.escrow.version

    def look(self, channels: Sequence[session.Channel]) -> Flow[Sequence[acts.OnChain]]:
        """These channels as the chain has them at its newest block, in the same order. Raises ChainError.

        A v2 channel that was closed is forgotten: it shows as `closed` where the event of that is found, else as none.
        """
        return (yield from look(self.config.rpc_url, channels))

    def pay_out(self, jobs: Sequence[tuple[session.Channel, session.Close, bool]]) -> Flow[acts.Sendable]:
        """One signed transaction that settles or closes these channels, but for those that would be refused now.

        Nothing is sent. Raises UsageError, VerificationFailed, ChainError.
        """
        return (yield from payout.pay_out(self.config.rpc_url, self.config.payer, jobs))

    @property
    def batch(self) -> int:
        """How many channels one transaction can settle or close."""
        return payout.BATCH[self.config.escrow.version.name]

    def send(self, raw: bytes) -> Flow[None]:
        """Broadcast what pay_out made. Raises ChainError: then only `paid_out` knows."""
        yield from broadcast_raw(self.config.rpc_url, raw)

    def paid_out(
        self, channel: session.Channel, close: session.Close, closes: bool, sent: acts.Sendable
    ) -> Flow[acts.JobOutcome]:
        """What became of one channel of a pay_out. Raises ChainError."""
        config = self.config
        job = (channel, close, closes)
        return (
            yield from payout.paid_out(
                config.rpc_url, job, sent, confirmations=config.confirmations, lag_s=config.lag_s
            )
        )

    # --- what is told ----------------------------------------------------------------------------

    def suggest(self, request: Mapping[str, Any], channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """The same request with the channel to go on with, and for v2 a snapshot of it (TSES "Session Snapshot")."""
        told = read_record(channel.state)
        details = dict(request["methodDetails"]) | {"channelId": channel.id}
        snapshot = _snapshot(told, channel, required_units)
        if snapshot is not None:
            details["sessionSnapshot"] = snapshot.members()
        return dict(request) | {"methodDetails": details}

    def headers(self, channel: session.Channel, required_units: int) -> tuple[tuple[str, str], ...]:
        """The channel's id and, for v2, a snapshot with the highest voucher, which is the client's own signature: so
        a client that lost its store can see how far it went (F04)."""
        named = ((CHANNEL_HEADER, channel.id),)
        snapshot = _snapshot(read_record(channel.state), channel, required_units)
        return named if snapshot is None else (*named, (SNAPSHOT_HEADER, snapshot.encode()))

    def receipt(
        self, channel: session.Channel, challenge_id: str, at_s: float, units: int | None, reference: str | None
    ) -> Receipt:
        """How a channel stands (TSES "Receipt Generation")."""
        told = SessionReceipt(
            timestamp=format_instant(at_s),
            challenge_id=challenge_id,
            channel_id=channel.id,
            accepted_units=channel.accepted,
            spent_units=channel.spent,
            units=units,
            transaction_hash=reference,
        )
        return told.receipt()

    def need(self, channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """What a stream that ran dry tells its client."""
        return NeedVoucher.on(channel, required_units).members()


def _asset(chain_id: int, address: str) -> Asset:
    return asset_of(chain_id, address, pinned(chain_id).get(address))


def _own(terms: acts.Terms) -> SessionTerms:
    if not isinstance(terms, SessionTerms):
        raise UsageError("not terms of a tempo session")
    return terms


def _require_record(channel: session.Channel, presented: acts.Presented, terms: SessionTerms) -> None:
    """That our record is the channel that the payload names, under these terms. Raises VerificationFailed."""
    if channel.key != presented.key:
        raise UsageError("the record of another channel")
    if (channel.payee, channel.asset) != (terms.recipient, terms.asset.key):  # TSES-014 TSES-015
        raise VerificationFailed("the channel pays somebody else, or holds another token")


def _snapshot(told: Recorded, channel: session.Channel, required_units: int) -> Snapshot | None:
    """None for v1, which has no snapshots."""
    descriptor = told.ref.descriptor
    if descriptor is None:
        return None
    return Snapshot(
        escrow=told.ref.escrow,
        channel_id=channel.id,
        descriptor=descriptor,
        deposit_units=channel.deposit,
        settled_units=channel.settled,
        accepted_units=channel.accepted,
        required_units=required_units,
        spent_units=channel.spent,
        close_requested_at=int(channel.closing_at_s or 0),
        units=channel.units,
        highest_voucher=HighestVoucher(channel.accepted, channel.voucher) if channel.voucher else None,
    )
