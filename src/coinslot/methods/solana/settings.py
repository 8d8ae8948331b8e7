"""The settings of both sides, as programs publish them: one field per flag or line of a configuration file.

Amounts are decimal text in whole tokens or SOL, times whole seconds. Fields that hold secrets say so in their metadata,
and no repr shows them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from coinslot.settings import SECRET, Settings


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who gets a part of what sessions pay."""

    recipient: Annotated[str, Meta(description="address that is paid (of the owner, not of a token account)")]
    bps: Annotated[int, Meta(ge=1, le=10_000, description="its share in hundredths of a percent")]


class Accept(Settings, frozen=True, kw_only=True):
    """What a seller accepts. The defaults take a charge in USDC, tied to its challenge, by pull or push."""

    rpc_url: Annotated[str, Meta(min_length=1, description="JSON-RPC address of a Solana node")]
    recipient: Annotated[str, Meta(description="address that is paid (of the owner, not of a token account)")]
    currency: Annotated[
        str, Meta(description='"USDC", "USDT" or "PYUSD", the address of another mint, or "sol"; USDC by default')
    ] = "USDC"
    decimals: Annotated[
        Annotated[int, Meta(ge=0, le=9)] | None,
        Meta(description="digits after the token's point; asked from the chain, which must say the same"),
    ] = None
    network: Annotated[
        str | None,
        Meta(
            description='"mainnet", "devnet" or "localnet", which the node must be on; else what its genesis hash says'
        ),
    ] = None
    modes: Annotated[
        tuple[str, ...] | None,
        Meta(
            description='"pull" (we broadcast) and "push" (the payer does); by default both, pull only when sponsoring'
        ),
    ] = None
    reference: Annotated[
        bool,
        Meta(
            description="give each offer an externalId of its own, which payers write on the chain. Off, it weakens: "
            "nothing there then ties a payment to its challenge, and nothing can be pushed"
        ),
    ] = True
    allow_plain_push: Annotated[
        bool,
        Meta(
            description="take a pushed payment without that memo too, if it is younger than the offer. Weakens: "
            "whoever sees such a payment on the chain can present it first"
        ),
    ] = False
    recent_blockhash: Annotated[
        bool, Meta(description="put a fresh blockhash into offers, which saves clients a question")
    ] = True
    create_split_accounts: Annotated[
        bool,
        Meta(description="let the payer of the fee create missing token accounts of payees of splits, at its cost"),
    ] = False
    trusted_extensions: Annotated[
        tuple[str, ...],
        Meta(
            description='powers of an issuer to live with: "permanentDelegate", "pausable". Weakens: the issuer '
            "can take or stop money that was paid. Pinned tokens need no such line"
        ),
    ] = ()
    simulate: Annotated[
        bool, Meta(description="ask the node what a payment would do before broadcasting it; always done if sponsoring")
    ] = True
    commitment: Annotated[
        str, Meta(description='when a payment counts: "confirmed" (about a second) or "finalized" (about 13)')
    ] = "confirmed"
    lag_s: Annotated[
        int,
        Meta(
            ge=1,
            le=3600,
            description="how far replicas behind rpc_url may lag: a payment that the chain never showed counts as "
            "dead only so long after its blockhash expired",
        ),
    ] = 30
    fee_payer_key: Annotated[
        str | None,
        Meta(description="private key of an account that pays the payers' fees (sponsorship)", extra=SECRET),
    ] = None
    sponsor_max_units: Annotated[
        int,
        Meta(
            gt=0,
            le=1_400_000,
            description="most compute units of a sponsored payment with one transfer; each split adds 110,000",
        ),
    ] = 400_000
    sponsor_max_fee: Annotated[
        str, Meta(description="most that the fee of one sponsored payment may be, in SOL, without rent of accounts")
    ] = "0.00005"
    sponsor_payer_daily: Annotated[
        str, Meta(description="most that one payer may cost the sponsor in 24 hours, in SOL")
    ] = "0.005"
    sponsor_daily: Annotated[str, Meta(description="most that all payers may cost the sponsor in 24 hours, in SOL")] = (
        "0.5"
    )
    session_key: Annotated[
        str | None,
        Meta(
            description="private key of the recipient, which signs for closing channels; without it no sessions are "
            "offered. Services with stores of their own need recipients of their own: nothing in a channel names the "
            "service, and the same voucher would buy at each of them",
            extra=SECRET,
        ),
    ] = None
    channel_program: Annotated[
        str | None,
        Meta(description="address of another channel program than the known one. Weakens: it holds the deposits"),
    ] = None
    channel_treasury: Annotated[
        str | None,
        Meta(
            description="owner of the treasury that was built into the channel program; it gets what rounding leaves. "
            "Needed on devnet, where it is not known, and with a channel_program of your own"
        ),
    ] = None
    session_splits: Annotated[
        tuple[Share, ...], Meta(description="who else gets a share of what sessions pay, in hundredths of a percent")
    ] = ()
    grace_s: Annotated[
        int,
        Meta(
            ge=60,
            le=2_592_000,
            description="how long a payer must wait after asking to close before it takes the rest back; somebody "
            "must look three times in it",
        ),
    ] = 900
    voucher_signer: Annotated[
        str,
        Meta(
            description='"client", or "operator": this server then signs the vouchers, and clients only prove who they '
            "are"
        ),
    ] = "client"
    operator_key: Annotated[
        str | None,
        Meta(description="private key that signs vouchers as operator; session_key by default", extra=SECRET),
    ] = None
    idle_timeouts: Annotated[
        tuple[Annotated[int, Meta(ge=1, le=2_592_000)], ...],
        Meta(description="idle timeouts in seconds that clients may choose from, growing; none to leave no choice"),
    ] = ()
    idle_timeout_s: Annotated[
        int, Meta(ge=1, le=2_592_000, description="after how much silence a channel is closed if nobody chose")
    ] = 86_400
    session_ttl_s: Annotated[
        Annotated[int, Meta(ge=1, le=2_592_000)] | None,
        Meta(description="how long a session is suggested to last; a hint to clients"),
    ] = None
    min_deposit: Annotated[
        str, Meta(description="least deposit of a channel, in whole tokens: opening one costs fees and binds rent")
    ] = "0.1"
    suggested_deposit: Annotated[
        str | None, Meta(description="deposit that clients are told to open channels with, in whole tokens")
    ] = None
    min_top_up: Annotated[
        str | None,
        Meta(
            description="least addition to a deposit for which fee_payer_key pays the network's fee (10,000 lamports), "
            "in whole tokens; else the price of a unit, or a tenth of the suggested or least deposit, if that is more"
        ),
    ] = None
    min_voucher_delta: Annotated[
        str | None, Meta(description="least amount by which a voucher must exceed the one before, in whole tokens")
    ] = None
    clock_skew_s: Annotated[
        int, Meta(ge=0, le=300, description="by how much the clocks of clients may differ from ours")
    ] = 30
    voucher_life_s: Annotated[
        int,
        Meta(
            ge=0,
            le=2_592_000,
            description="how much longer than now a voucher must be good, if it expires: longer than the settler "
            "takes to settle",
        ),
    ] = 7_200
    credit_units: Annotated[
        int,
        Meta(
            ge=0,
            le=10**15,
            description="what one channel may owe for metered streams that come before they are paid, in base units; "
            "0: none do. Weakens: who never pays has got so much for nothing",
        ),
    ] = 0
    session_unit_price: Annotated[
        int,
        Meta(ge=0, le=1_000_000, description="priority fee of settling and closing, micro-lamports per compute unit"),
    ] = 1_000
    session_sponsor_payer_daily: Annotated[
        str,
        Meta(
            description="most that opening and topping up may cost a sponsor for one payer in 24 hours, in SOL, rent "
            "included, which comes back; the same again bounds new token accounts for refunds, sponsor or not"
        ),
    ] = "0.05"
    session_sponsor_daily: Annotated[str, Meta(description="the same for all payers, in SOL")] = "5"


class KnownToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that the owner of a wallet vouches for."""

    mint: Annotated[str, Meta(description="address of the token's mint")]
    decimals: Annotated[int, Meta(ge=0, le=9, description="digits after the point")]
    token_2022: Annotated[bool, Meta(description="kept by Token-2022 and not by the first token program")] = False
    symbol: Annotated[str, Meta(description="name shown to people")] = ""
    peg: Annotated[str | None, Meta(description='what one token is worth, such as "USD"; limits hold by it')] = None


class Wallet(Settings, frozen=True, kw_only=True):
    """Who pays, and with what. Only SOL, pinned tokens and those in `tokens` are ever paid."""

    rpc_url: Annotated[str, Meta(min_length=1, description="JSON-RPC address of a Solana node")]
    private_key: Annotated[
        str,
        Meta(
            description="private key of the account: base58 of 64 bytes, the JSON list of a solana-keygen file, or 0x "
            "and 64 hex digits of the seed",
            extra=SECRET,
        ),
    ]
    network: Annotated[
        str | None,
        Meta(
            description='"mainnet", "devnet" or "localnet", which the node must be on; else what its genesis hash says'
        ),
    ] = None
    mode: Annotated[str, Meta(description='"pull" or "push": which to choose where the server takes both')] = "pull"
    unit_price: Annotated[
        int, Meta(ge=0, le=1_000_000, description="priority fee in micro-lamports per compute unit")
    ] = 1_000
    max_fee: Annotated[
        str, Meta(description="most that the network may cost one payment, in SOL, rent of accounts included")
    ] = "0.01"
    max_rent: Annotated[
        str,
        Meta(
            description="most that token accounts which a charge creates for others may cost one payment, in SOL; it "
            "does not come back, and no limit in dollars counts it. 0: such charges are not paid"
        ),
    ] = "0"
    tokens: Annotated[tuple[KnownToken, ...], Meta(description="more tokens that may be paid")] = ()
    sessions: Annotated[bool, Meta(description="pay through channels where a server offers that")] = True
    voucher_key: Annotated[
        str | None,
        Meta(
            description="private key that signs vouchers in place of private_key; with it alone channels can be spent, "
            "not opened. Whoever has it can spend all deposits, so use one for a short time",
            extra=SECRET,
        ),
    ] = None
    channel_programs: Annotated[
        tuple[str, ...], Meta(description="channel programs that may hold deposits, besides the pinned one")
    ] = ()
    max_grace_s: Annotated[
        int,
        Meta(ge=1, le=31 * 86_400, description="longest time that a payee may ask for to settle when you close alone"),
    ] = 86_400
    operator_deposit: Annotated[
        str | None,
        Meta(
            description="most that a channel may hold whose vouchers the server signs, in whole tokens. Weakens: such "
            "a server can take all of it, whatever it delivered. Without this no such channel is opened"
        ),
    ] = None
