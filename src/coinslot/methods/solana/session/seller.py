"""The server's side of Solana sessions: what is asked, what is presented, what is done and told.

    vouchers, proofs  read, verify            microseconds; no chain, no store
    money in          check ... confirm       funding.py: open and topUp, broadcast by us
    money out         pay_out, paid_out       payout.py: settle and close
    what was missed   look, tidy              looking.py, rent.py

A channel on record carries all that is needed to speak of it (record.py), so a seller can settle and close channels of
earlier settings too: of another program, with other splits, signed for by the other side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, ClassVar

from coinslot.chains.solana.expiry import LIFE_S
from coinslot.chains.solana.rpc import Commitment, block_time
from coinslot.chains.solana.rpc import slot as newest_slot
from coinslot.chains.solana.sending import send_transaction
from coinslot.chains.solana.signature import Key
from coinslot.core.challenge import Challenge
from coinslot.core.instant import format_instant
from coinslot.core.receipt import Receipt
from coinslot.drive import Flow, now
from coinslot.errors import (
    ChannelNotFound,
    ChannelRefused,
    InvalidChallenge,
    PaymentExpired,
    PaymentInsufficient,
    Problem,
    RailUnavailable,
    RpcRefused,
    SessionProblem,
    UsageError,
    VerificationFailed,
)
from coinslot.intents import acts, session
from coinslot.intents.charge import Budget, Prepared
from coinslot.intents.dry import NeedVoucher
from coinslot.method import Extras
from coinslot.methods.solana.session import payout
from coinslot.methods.solana.session.channel import Seeds
from coinslot.methods.solana.session.distribution import Split
from coinslot.methods.solana.session.funding import Handed, confirm_funded, final, known, require_success
from coinslot.methods.solana.session.looking import look, open_channels
from coinslot.methods.solana.session.lookups import FEW_SPLITS, collect_tables
from coinslot.methods.solana.session.payload import (
    ClosePayload,
    OpenPayload,
    Payload,
    TopUpPayload,
    UsePayload,
    VoucherPayload,
    read_payload,
    read_plain_voucher,
)
from coinslot.methods.solana.session.receipt import SessionReceipt
from coinslot.methods.solana.session.recent import Recent
from coinslot.methods.solana.session.record import NAME, Recorded, channel_key, proof_hash, read_record, recorded_of
from coinslot.methods.solana.session.rent import abandoned, collect_rent
from coinslot.methods.solana.session.resume import Resumable
from coinslot.methods.solana.session.snapshot import CHANNEL_HEADER, SNAPSHOT_HEADER, snapshot_of
from coinslot.methods.solana.session.sponsoring import Refunds, Sponsoring
from coinslot.methods.solana.session.terms import (
    SessionTerms,
    completed,
    least_top_up,
    opening_anew,
    read_session_terms,
    resuming,
    write_session_request,
)
from coinslot.methods.solana.session.transaction import (
    Opening,
    ToppingUp,
    read_opening,
    read_topping_up,
    require_slot,
)
from coinslot.methods.solana.session.verifying import verify_opened, verify_proof, verify_voucher
from coinslot.methods.solana.session.voucher import decode_voucher, sign_voucher
from coinslot.money import Asset, to_units

# An amount on the chain is a u64.
BITS = 64
_ACTS: Mapping[type[Payload], acts.Act] = {
    OpenPayload: acts.Act.OPEN,
    TopUpPayload: acts.Act.TOP_UP,
    VoucherPayload: acts.Act.VOUCHER,
    UsePayload: acts.Act.USE,
    ClosePayload: acts.Act.CLOSE,
}


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """A seller's settings, parsed and completed by the chain; see settings.Accept. Amounts are base units.

    `cluster` is the network as challenges say it. `till` settles and closes. `sponsoring` pays fees and rent of an
    opening or top-up, `refunds` bounds what closing costs. `operator` signs the vouchers, where payers leave it to us.
    `min_top_up_units` is the least that we pay the fee of adding for; None: by what is asked (terms.least_top_up).
    `voucher_life_s`: how much longer a voucher must be good than now, `clock_skew_s` by how much clocks may differ.
    `credit_units`: what a channel may owe for deliveries.
    """

    rpc_url: str = field(repr=False)  # providers put keys into it
    cluster: str
    program: str
    asset: Asset
    token_program: str
    recipient: str
    till: payout.Till
    grace_s: int
    idle_s: int
    commitment: Commitment = "confirmed"
    idle_options_s: tuple[int, ...] = ()
    min_delta_units: int = 0
    min_deposit_units: int = 0
    suggested_deposit_units: int | None = None
    ttl_s: int | None = None
    splits: tuple[Split, ...] = ()
    operator: Key | None = field(default=None, repr=False)
    sponsoring: Sponsoring | None = None
    refunds: Refunds | None = None
    min_top_up_units: int | None = None
    simulate: bool = True
    lag_s: int = 30
    clock_skew_s: int = 30
    voucher_life_s: int = 7_200
    credit_units: int = 0


@dataclass(frozen=True, slots=True)
class SolanaSessionSeller:
    """Takes sessions in one token on one channel program for one recipient."""

    method: ClassVar[str] = NAME
    intent: ClassVar[str] = session.INTENT
    config: SessionConfig
    _recent: Recent = field(init=False, repr=False)
    _resumable: Resumable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """What changes by the moment is kept apart."""
        object.__setattr__(self, "_recent", Recent(self.config.rpc_url, self.config.commitment))
        object.__setattr__(self, "_resumable", Resumable(self.config.rpc_url, self.config.commitment))

    @property
    def network(self) -> str:
        """The CAIP-2 id of the cluster."""
        return self.config.asset.network

    @property
    def grace_s(self) -> float:
        """How long after asking to close a payer must wait, on channels of these settings."""
        return float(self.config.grace_s)

    @property
    def credit_units(self) -> int:
        """What a channel may owe for deliveries, in base units."""
        return self.config.credit_units

    # --- what is asked ---------------------------------------------------------------------------

    def offer(self, price: Decimal, extras: Extras, tariff: acts.Tariff) -> Mapping[str, Any]:
        """The request object (SSES "Request Schema"), but for what only the chain knows. Raises UsageError."""
        config = self.config
        if extras.splits:
            raise UsageError("a channel's splits are a setting of its seller, not of a price")
        decimals = config.asset.decimals or 0
        amount, suggested = to_units(price, decimals), config.suggested_deposit_units
        if tariff.suggested_deposit is not None:
            suggested = to_units(tariff.suggested_deposit, decimals)
        if suggested is not None or config.min_deposit_units:  # who follows it is never refused
            suggested = max(suggested or 0, config.min_deposit_units, amount)
        request = write_session_request(
            SessionTerms(
                network=config.cluster,
                program=config.program,
                asset=config.asset,
                recipient=config.recipient,
                amount_units=amount,
                decimals=decimals,
                unit_type=tariff.unit_type,
                suggested_deposit_units=suggested,
                minimum_deposit_units=config.min_deposit_units,
                token_program=config.token_program,
                fee_payer=None if config.sponsoring is None else config.sponsoring.address,
                operator=None if config.operator is None else config.operator.address,
                min_voucher_delta_units=config.min_delta_units,
                ttl_s=config.ttl_s,
                splits=config.splits,
                grace_s=config.grace_s,
                idle_options_s=config.idle_options_s,
            )
        )
        if extras.external_id is not None:
            request["externalId"] = extras.external_id
        if extras.description is not None:
            request["description"] = extras.description
        return request

    def complete(self, request: Mapping[str, Any]) -> Flow[Mapping[str, Any]]:
        """With what the chain says now: to go on with a channel, that it is open; else the blockhash and the slot to
        open a new one on. Raises ChainError.
        """
        if request["methodDetails"].get("channelId") is not None:  # SSES-066 SSES-068
            if (yield from self._resumable.is_open(self._read_terms(request))):  # SSES-212
                return request
            request = opening_anew(request, self.config.idle_options_s)
        recent = yield from self._recent.blockhash()
        return completed(request, recent.blockhash, recent.slot)

    def terms(self, request: Mapping[str, Any]) -> SessionTerms:
        """The terms of a request that we bound. Raises InvalidChallenge unless they are this seller's."""
        terms, config = self._read_terms(request), self.config
        operator = None if config.operator is None else config.operator.address
        for wrong, reason in (
            ((terms.network, terms.program) != (config.cluster, config.program), "cluster or channel program"),  # T07
            (terms.mint != config.asset.id, "currency"),  # SSES-182
            (terms.token_program not in (None, config.token_program), "token program"),
            (terms.recipient != config.recipient or terms.splits != config.splits, "recipient or splits"),
            (terms.operator != operator, "signer of vouchers"),
        ):
            if wrong:
                raise InvalidChallenge(f"the challenge is for another {reason}")
        return replace(terms, asset=config.asset)

    def _read_terms(self, request: Mapping[str, Any]) -> SessionTerms:
        try:
            return read_session_terms(request, lambda _, mint, decimals: Asset(self.network, mint, decimals))
        except UsageError as error:
            raise InvalidChallenge(str(error)) from None

    def rules(self, terms: acts.Terms) -> session.Rules:
        """Every voucher is higher than the one before by what it pays for, and closing takes what it says."""
        return session.Rules(
            bits=BITS,
            equal=session.Repeat.REFUSE,
            lower=session.Repeat.REFUSE,
            min_delta_units=_own(terms).min_voucher_delta_units,
            capture=session.Capture.VOUCHER,
            top_up_reopens=False,
            ahead=False,  # SSES-151
            pen=self._sign,
        )

    def _sign(self, channel: session.Channel, total_units: int) -> bytes | None:
        """Our voucher for a channel whose payer leaves the signing to us; always the same bytes."""
        key = self.config.operator
        if key is None or not read_record(channel.state).operator or channel.signer != key.address:
            return None
        return sign_voucher(key, channel.id, total_units).encode()

    # --- vouchers and proofs ---------------------------------------------------------------------

    def read(self, payload: Mapping[str, Any], terms: acts.Terms) -> acts.Presented:
        """The act of a payload: its shape. Whose the channel is stands in our record. Raises MalformedCredential."""
        return self._presented(read_payload(payload, operator=_own(terms).operator is not None))

    def read_voucher(self, payload: bytes, terms: acts.Terms) -> acts.Presented | None:
        """The same from the JSON itself, for a client's plainest voucher; None: `read` is to look."""
        known = None if _own(terms).operator is not None else read_plain_voucher(payload)  # SSES-122
        return None if known is None else self._presented(known)

    def _presented(self, shown: Payload) -> acts.Presented:
        voucher = None
        if isinstance(shown, VoucherPayload | ClosePayload) and shown.voucher is not None:
            signed = shown.voucher
            voucher = session.Voucher(signed.channel_id, signed.cumulative_units, signed.encode())
        key = channel_key(self.network, shown.channel_id)
        return acts.Presented(_ACTS[type(shown)], key, shown.channel_id, voucher, shown)

    def verify(self, presented: acts.Presented, channel: session.Channel, claimed: acts.Claimed, at_s: float) -> None:
        """That the channel's signer signed this voucher, or its payer this proof (SSES "Voucher Verification", "Session
        Bearer Proof"). Raises InvalidVoucher, SignerMismatch, VerificationFailed.
        """
        config, recorded = self.config, recorded_of(channel.state, channel.id)  # 4: derived anew from its parts
        shown = presented.evidence
        match shown:
            case VoucherPayload():  # SSES-155: it must still be good when it is settled, which is not at once
                verify_voucher(shown.voucher, recorded, channel, at_s + config.voucher_life_s, config.clock_skew_s)
            case ClosePayload():
                if shown.voucher is not None:  # SSES-155: a close may have to be sent more than once
                    verify_voucher(shown.voucher, recorded, channel, at_s + config.voucher_life_s, config.clock_skew_s)
                else:
                    verify_proof(shown.authentication, recorded, channel)
            case UsePayload():
                if claimed.credential.challenge.id != recorded.challenge_id:  # SSES-094
                    raise VerificationFailed("a channel is used under the challenge that opened it")
                verify_proof(shown.authentication, recorded, channel)
            case OpenPayload():
                verify_opened(shown, recorded, channel)
            case _:
                raise UsageError("a top-up carries neither a voucher nor a proof")

    def takes(self, channel: session.Channel, terms: acts.Terms) -> bool:
        """Whether a recorded channel is of these terms' cluster, program, token and payee, split alike, and signed for
        by the same side. Raises UsageError for a record that can't be read. T07
        """
        mine = _own(terms)
        place = (channel.method, channel.network, channel.asset, channel.payee)
        if place != (NAME, self.network, mine.asset.key, mine.recipient):
            return False
        recorded = read_record(channel.state)
        if (recorded.program, recorded.splits) != (mine.program, mine.splits):  # T07
            return False
        if mine.operator is not None:
            return recorded.operator and channel.signer == mine.operator
        return not recorded.operator

    # --- money into a channel --------------------------------------------------------------------

    def check(
        self, presented: acts.Presented, claimed: acts.Claimed, channel: session.Channel | None
    ) -> Flow[acts.Funding]:
        """Whether an opening or top-up is good (SSES "Open" 1 to 12, "TopUp" 2). Nothing moves.

        Raises VerificationFailed, InvalidVoucher, SignerMismatch, ChannelNotFound, RailUnavailable, ChainError.
        """
        shown, terms = presented.evidence, _own(claimed.terms)
        sponsoring = self._sponsoring(terms)
        first: session.Channel | None = None
        asked: Opening | ToppingUp
        if isinstance(shown, OpenPayload):
            asked = yield from self._opening(shown, terms, claimed, presented)
            first = self._first(asked, shown, terms, claimed, (yield from now()))
            payer = asked.call.seeds.payer
        elif isinstance(shown, TopUpPayload):
            if channel is None:
                raise ChannelNotFound("no channel of this id is known here", channel_id=presented.channel_id)
            asked = self._topping_up(shown, terms, channel)
            payer = channel.payer
            if asked.shape.transaction.payer == payer:  # where we offer to, a payer may still pay by itself
                sponsoring = None
            if sponsoring is not None:
                self._require_worth_a_fee(terms, asked.call.amount_units)
        else:
            raise UsageError("neither an opening nor a top-up")
        budgets: tuple[Budget, ...] = ()
        if sponsoring is not None:
            sponsoring.require(asked.shape)  # T31
            lamports = sponsoring.cost(asked.shape, opens=first is not None)
            budgets = sponsoring.budgets(lamports, self.network, payer)
        if first is not None and self.config.refunds is not None:  # T31
            budgets += self.config.refunds.budgets(self.network, payer)
        handed = final(asked, sponsoring)
        if self.config.simulate or sponsoring is not None:
            yield from self._try(handed, sponsoring)
        proof = f"{self.network}/tx/{handed.signature}"  # T06: the name under which a charge would use it up
        return acts.Funding(presented.act, presented.key, payer, proof, first, handed, budgets)

    def _sponsoring(self, terms: SessionTerms) -> Sponsoring | None:
        """Who pays the fee under these terms. Raises RailUnavailable: they were ours, and are no more."""
        if terms.fee_payer is None:
            return None
        sponsoring = self.config.sponsoring
        if sponsoring is None or sponsoring.address != terms.fee_payer:
            raise RailUnavailable("fees are not paid for by this key any more; ask for a fresh challenge")
        return sponsoring

    def _opening(
        self, shown: OpenPayload, terms: SessionTerms, claimed: acts.Claimed, presented: acts.Presented
    ) -> Flow[Opening]:
        challenge_id = claimed.credential.challenge.id
        opening = read_opening(
            shown, terms, challenge_id, terms.recent_slot or 0, self.config.idle_s
        )  # no RPC for junk
        if presented.key != channel_key(self.network, opening.channel_id):
            raise VerificationFailed("channelId is not the address of this channel")
        slot = yield from newest_slot(self.config.rpc_url, commitment=self.config.commitment)
        # a node that lags behind the one that was asked for the challenge knows less, and not otherwise
        require_slot(opening, max(slot, terms.recent_slot or 0))
        return opening

    def _topping_up(self, shown: TopUpPayload, terms: SessionTerms, channel: session.Channel) -> ToppingUp:
        if not self.takes(channel, terms):  # SSES-182: the token is still one that is taken
            raise VerificationFailed("this channel pays somebody else, in something else, or elsewhere")
        if channel.stage is not session.Stage.OPEN:  # SSES-217
            raise VerificationFailed("only an open channel can be topped up")
        return read_topping_up(shown, recorded_of(channel.state, channel.id), terms.fee_payer)

    def _require_worth_a_fee(self, terms: SessionTerms, units: int) -> None:
        """That a top-up is worth the fee that we pay for it. Raises VerificationFailed."""
        set_units = self.config.min_top_up_units
        least = least_top_up(terms) if set_units is None else set_units
        if units < least:  # T31
            raise VerificationFailed(
                f"not sponsored: a top-up whose fee the server pays adds {terms.asset.text(least)} or more ({least} "
                "base units); add that much, or pay the fee yourself"
            )

    def _try(self, handed: Handed, sponsoring: Sponsoring | None) -> Flow[None]:
        config = self.config
        try:
            yield from require_success(config.rpc_url, handed.asked, sponsoring, config.commitment)
        except (VerificationFailed, RailUnavailable):
            if not (yield from known(config.rpc_url, handed)):  # T35
                raise

    def _first(
        self, opening: Opening, shown: OpenPayload, terms: SessionTerms, claimed: acts.Claimed, at_s: float
    ) -> session.Channel:
        """The record of a channel that is about to be opened (SSES "Open" 15)."""
        call, proof = opening.call, shown.authentication
        recorded = Recorded(
            network=self.network,
            program=terms.program,
            seeds=call.seeds,
            token_program=call.token_program,
            rent_payer=call.rent_payer,
            grace_s=call.grace_s,
            splits=call.splits,
            idle_s=opening.idle_s,
            operator=terms.operator is not None,
            challenge_id=claimed.credential.challenge.id,
            proof=None if proof is None else proof_hash(proof.signature),  # T38
        )
        return session.Channel(
            key=recorded.key,
            id=opening.channel_id,
            network=self.network,
            method=NAME,
            payer=call.seeds.payer,
            payee=call.seeds.payee,
            signer=call.seeds.authorized_signer,
            asset=terms.asset.key,
            deposit=call.deposit_units,
            state=recorded.encode(),
            opened_at_s=at_s,
            used_at_s=at_s,
        )

    def prepare(self, funding: acts.Funding, challenge: Challenge) -> Flow[Prepared]:
        """The final bytes and the signature that the chain will know them by."""
        handed = funding.evidence
        if not isinstance(handed, Handed):
            raise UsageError("not what check made")
        dead_after_s = (yield from now()) + LIFE_S + self.config.lag_s
        return Prepared(challenge, funding.payer, funding.proof, handed.signature, handed.raw, dead_after_s)

    def broadcast(self, prepared: Prepared) -> Flow[None]:
        """Send the bytes. Raises RpcUnreachable, RpcRefused; then only confirm knows."""
        yield from send_transaction(self.config.rpc_url, prepared.raw, commitment=self.config.commitment)

    def confirm(self, prepared: Prepared) -> Flow[acts.FundingOutcome]:
        """What the chain says now, with nothing but what was prepared (SSES "Open" 14, "TopUp" 3). Raises
        ChainError.
        """
        terms = self._read_terms(prepared.challenge.request_object())  # also if the settings changed since
        config = self.config
        return (yield from confirm_funded(config.rpc_url, prepared, terms.program, self.network, config.commitment))

    # --- money out of channels -------------------------------------------------------------------

    def serves(self, channel: session.Channel) -> bool:
        """Whether we can settle and close a recorded channel: of any program, with any splits."""
        place = (channel.method, channel.network, channel.asset, channel.payee)
        return place == (NAME, self.network, self.config.asset.key, self.config.recipient)

    def idle_s(self, channel: session.Channel) -> float | None:
        """What was agreed when it was opened, for its whole life (SSES-226 SSES-288)."""
        agreed = read_record(channel.state).idle_s
        return None if agreed is None else float(agreed)

    def collectable_until_s(self, channel: session.Channel) -> float | None:
        """When the highest voucher expires; after that the chain takes none of it (SSES-155)."""
        expires_at = decode_voucher(channel.voucher).expires_at if channel.voucher else 0
        return float(expires_at) if expires_at else None

    def look(self, channels: Sequence[session.Channel]) -> Flow[Sequence[acts.OnChain]]:
        """These channels as the chain has them, in the same order. Raises ChainError."""
        return (yield from look(self.config.rpc_url, channels, self.config.commitment))

    def open_keys(self) -> Flow[frozenset[str] | None]:
        """The open channels to this recipient in this token, by the chain; None where its node doesn't tell a program's
        accounts. Raises RpcUnreachable.
        """
        config = self.config
        try:
            found = yield from open_channels(
                config.rpc_url, config.program, (config.recipient, config.asset.id), config.commitment
            )
        except RpcRefused:
            return None
        return frozenset(channel_key(self.network, one) for one in found)

    def pay_out(self, jobs: Sequence[tuple[session.Channel, session.Close, bool]]) -> Flow[acts.Sendable]:
        """Signed transactions that settle or close these channels, but for those that would be refused now.

        Nothing is sent. Raises UsageError, VerificationFailed, ChainError.
        """
        config = self.config
        return (yield from payout.pay_out(config.rpc_url, config.till, jobs, config.commitment))

    @property
    def batch(self) -> int:
        """How many channels are settled or closed together."""
        return payout.BATCH

    def send(self, raw: bytes) -> Flow[None]:
        """Broadcast what pay_out made, in order. Raises ChainError: then only `paid_out` knows."""
        yield from payout.send(self.config.rpc_url, raw, self.config.commitment)

    def paid_out(
        self, channel: session.Channel, close: session.Close, closes: bool, sent: acts.Sendable
    ) -> Flow[acts.JobOutcome]:
        """What became of one channel of a pay_out. Raises ChainError."""
        config = self.config
        return (yield from payout.paid_out(config.rpc_url, (channel, close, closes), sent, config.commitment))

    def tidy(self) -> Flow[int]:
        """Collect the rent that we paid for channels that are over, and for lookup tables. How many. Raises ChainError,
        VerificationFailed.
        """
        sponsoring, config = self.config.sponsoring, self.config
        url, program, commitment = config.rpc_url, config.program, config.commitment
        if sponsoring is None:  # their payers paid it, and get it back
            return (yield from self._tidy_tables())
        nobody = Seeds(config.recipient, config.recipient, config.asset.id, config.recipient, 0, 0)
        like = Recorded(
            self.network, program, nobody, config.token_program, sponsoring.address, config.grace_s, config.splits
        )
        over = yield from abandoned(url, like, ((),), commitment)
        drained = 0
        if over:
            chain_s = yield from block_time(url, (yield from newest_slot(url, commitment=commitment)))
            drained = yield from payout.drain(url, config.till, over, float(chain_s or 0), commitment)
        collected = drained + (yield from collect_rent(url, program, sponsoring.sponsor.key, commitment))
        return collected + (yield from self._tidy_tables())

    def _tidy_tables(self) -> Flow[int]:
        """The rent of lookup tables, last: not every node lists the accounts of that program."""
        config = self.config
        if len(config.splits) <= FEW_SPLITS:
            return 0
        return (yield from collect_tables(config.rpc_url, config.program, config.till.payer, config.commitment))

    # --- what is told ----------------------------------------------------------------------------

    def suggest(self, request: Mapping[str, Any], channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """The same request to go on with this channel, while it sells (SSES-223)."""
        agreed = read_record(channel.state).idle_s
        if channel.stage is not session.Stage.OPEN or agreed is None:
            return request
        return resuming(request, channel.id, agreed)

    def headers(self, channel: session.Channel, required_units: int) -> tuple[tuple[str, str], ...]:
        """The channel's id, and the highest voucher that its client signed: a client that lost its store can see by its
        own signature how far it went. What we signed for a channel is nobody's but ours. F04
        """
        named = ((CHANNEL_HEADER, channel.id),)
        snapshot = None if read_record(channel.state).operator else snapshot_of(channel)
        return named if snapshot is None else (*named, (SNAPSHOT_HEADER, snapshot.encode()))

    def named(self, problem: Problem) -> Problem:
        """In the three words that this document has (SSES-243), with the detail and the members of the problem."""
        if isinstance(problem, PaymentExpired):
            return InvalidChallenge(problem.detail)
        if isinstance(problem, SessionProblem | PaymentInsufficient):
            return ChannelRefused.of(problem)
        return problem

    def receipt(
        self, channel: session.Channel, challenge_id: str, at_s: float, units: int | None, reference: str | None
    ) -> Receipt:
        """How a channel stands (SSES "Receipt Format"). Where we sign the vouchers, the highest says what was spent."""
        recorded = read_record(channel.state)
        closed = channel.stage is session.Stage.CLOSED
        told = SessionReceipt(
            timestamp=format_instant(at_s),
            channel_id=channel.id,
            accepted_units=channel.spent if recorded.operator else channel.accepted,
            spent_units=channel.settled if closed else channel.spent,
            idle_s=recorded.idle_s or self.config.idle_s,
            challenge_id=challenge_id,
            units=units,
            transaction=reference,
            refunded_units=channel.deposit - channel.settled if closed else None,
        )
        return told.receipt()

    def need(self, channel: session.Channel, required_units: int) -> Mapping[str, Any]:
        """What a stream that ran dry tells its client."""
        return NeedVoucher.on(channel, required_units).members()


def _own(terms: acts.Terms) -> SessionTerms:
    if not isinstance(terms, SessionTerms):
        raise UsageError("not terms of a solana session")
    return terms
