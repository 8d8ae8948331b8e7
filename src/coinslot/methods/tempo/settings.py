"""The settings of both sides, as programs publish them: one field per flag or line of a configuration file.

Amounts are decimal text in whole tokens, times whole seconds. Fields that hold secrets say so in their metadata,
and no repr shows them.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from coinslot.methods.tempo.tokens import PATH_USD
from coinslot.settings import SECRET, Settings


class Accept(Settings, frozen=True, kw_only=True):
    """What a seller accepts. The defaults take a charge in pathUSD, bound to its challenge, by pull or push.

    With a `session_key` it takes sessions too.
    """

    rpc_url: Annotated[str, Meta(min_length=1, description="JSON-RPC address of a Tempo node")]
    recipient: Annotated[str, Meta(description="address that is paid")]
    currency: Annotated[str, Meta(description="address of the TIP-20 token that is asked for; pathUSD by default")] = (
        PATH_USD
    )
    decimals: Annotated[
        Annotated[int, Meta(ge=0, le=36)] | None,
        Meta(description="digits after the token's point; asked from the chain by default"),
    ] = None
    chain_id: Annotated[
        Annotated[int, Meta(gt=0)] | None, Meta(description="the chain that rpc_url must belong to; any by default")
    ] = None
    memo: Annotated[
        str | None,
        Meta(
            description="32 bytes of hex that each payment must carry. Weakens: it replaces the memo that binds a "
            "payment to its challenge, so such payments are pulled only"
        ),
    ] = None
    modes: Annotated[
        tuple[str, ...] | None,
        Meta(description='"pull" (we broadcast) and "push" (the payer does); by default all that the rest allows'),
    ] = None
    allow_plain_transfer: Annotated[
        bool,
        Meta(
            description="take a pulled transfer without a memo too. Weakens: nothing on the chain then ties the "
            "payment to its challenge"
        ),
    ] = False
    proof_versions: Annotated[
        tuple[str, ...],
        Meta(
            description='versions of the proof for a price of zero: "3"; "2" and "1" (the document\'s) weaken it, '
            "since they don't name the payer's account"
        ),
    ] = ("3",)
    simulate: Annotated[
        bool,
        Meta(description="ask the node what a payment would do before broadcasting it; always done when sponsoring"),
    ] = True
    confirmations: Annotated[
        int, Meta(ge=0, le=1000, description="blocks that must follow a payment's; Tempo's are final at once")
    ] = 0
    lag_s: Annotated[
        int,
        Meta(
            ge=1,
            le=3600,
            description="how far replicas behind rpc_url may lag: a payment that the chain never showed counts as "
            "dead only so long after it ceased to be valid",
        ),
    ] = 30
    fee_payer_key: Annotated[
        str | None,
        Meta(description="private key of an account that pays the payers' fees (sponsorship)", extra=SECRET),
    ] = None
    fee_token: Annotated[
        str | None, Meta(description="address of the token in which the sponsor pays fees; pathUSD by default")
    ] = None
    sponsor_max_gas: Annotated[
        int, Meta(gt=0, description="most gas of a sponsored payment with one transfer; each split adds 350,000")
    ] = 2_000_000
    sponsor_max_fee_per_gas: Annotated[
        int, Meta(gt=0, description="highest price per gas of a sponsored payment, in units of 10**-18 dollars")
    ] = 100_000_000_000
    sponsor_max_fee: Annotated[str, Meta(description="most that one sponsored payment may cost, in dollars")] = "0.10"
    sponsor_payer_daily: Annotated[
        str, Meta(description="most that one payer may cost the sponsor in 24 hours, in dollars")
    ] = "1"
    sponsor_daily: Annotated[
        str, Meta(description="most that all payers may cost the sponsor in 24 hours, in dollars")
    ] = "50"
    sponsor_window_s: Annotated[
        int, Meta(gt=0, le=3600, description="longest validity of a payment that is sponsored, in seconds")
    ] = 90
    sponsor_key_authorization: Annotated[
        bool, Meta(description="sponsor payments that also authorize an access key (about a million gas more)")
    ] = False
    session_key: Annotated[
        str | None,
        Meta(
            description="private key of the recipient, or of the operator, that signs and pays for settling and "
            "closing channels; without it no sessions are offered",
            extra=SECRET,
        ),
    ] = None
    session_protocols: Annotated[
        tuple[str, ...], Meta(description='session protocols to offer, the preferred one first: "v2", "v1"')
    ] = ("v2",)
    session_fee_token: Annotated[
        str | None,
        Meta(
            description="address of the token in which settling and closing are paid for; by default the currency if "
            "it is a known dollar token, else pathUSD"
        ),
    ] = None
    session_max_fee_per_gas: Annotated[
        int, Meta(gt=0, description="highest price per gas of settling and closing, in units of 10**-18 dollars")
    ] = 100_000_000_000
    session_sponsor_max_gas: Annotated[
        int, Meta(gt=0, description="most gas of a sponsored opening or top-up of a channel")
    ] = 2_500_000
    escrow: Annotated[
        str | None,
        Meta(description="address of another escrow than the known one. Weakens: it holds the deposits, so trust it"),
    ] = None
    operator: Annotated[
        str | None, Meta(description="address that may settle and close v2 channels for the recipient")
    ] = None
    min_voucher_delta: Annotated[
        str | None, Meta(description="least amount by which a voucher must exceed the one before, in whole tokens")
    ] = None
    suggested_deposit: Annotated[
        str | None, Meta(description="deposit that clients are told to open channels with, in whole tokens")
    ] = None
    min_deposit: Annotated[
        str, Meta(description="least deposit of a channel, in whole tokens: opening one costs a cent or so in fees")
    ] = "0.1"


class KnownToken(msgspec.Struct, frozen=True, kw_only=True):
    """A token that the owner of a wallet vouches for."""

    address: Annotated[str, Meta(description="address of a TIP-20 token")]
    decimals: Annotated[int, Meta(ge=0, le=36, description="digits after the point")]
    symbol: Annotated[str, Meta(description="name shown to people")] = ""
    peg: Annotated[str | None, Meta(description='what one token is worth, such as "USD"; limits hold by it')] = None


class Wallet(Settings, frozen=True, kw_only=True):
    """Who pays, and with what. Only pinned tokens and those in `tokens` are ever paid."""

    rpc_url: Annotated[str, Meta(min_length=1, description="JSON-RPC address of a Tempo node")]
    private_key: Annotated[str, Meta(description="private key of the account, or of its access key", extra=SECRET)]
    chain_id: Annotated[
        Annotated[int, Meta(gt=0)] | None, Meta(description="the chain that rpc_url must belong to; any by default")
    ] = None
    account: Annotated[
        str | None, Meta(description="address of the account that private_key is an access key of; its own by default")
    ] = None
    key_authorization: Annotated[
        str | None,
        Meta(description="hex of the signed authorization of the access key, sent along until the chain knows the key"),
    ] = None
    fee_token: Annotated[
        str | None, Meta(description="address of the token that fees are paid in; the token that is paid by default")
    ] = None
    mode: Annotated[str, Meta(description='"pull" or "push": which to choose where the server takes both')] = "pull"
    max_fee_per_gas: Annotated[
        int, Meta(gt=0, description="highest price per gas that is ever signed, in units of 10**-18 dollars")
    ] = 100_000_000_000
    client_id: Annotated[
        str | None, Meta(description="name of the paying program; a hash of it goes into the memo on the chain")
    ] = None
    proof_version: Annotated[
        str,
        Meta(
            description='version of the proof for a price of zero: "3"; "2" or "1" (the document\'s) where a server '
            "takes nothing else, which weakens it"
        ),
    ] = "3"
    tokens: Annotated[tuple[KnownToken, ...], Meta(description="more tokens that may be paid")] = ()
    sponsor_envelope: Annotated[
        bool,
        Meta(
            description="hand a payment whose fee the server pays over in the 0x78 envelope that deployed servers "
            "read; else as type 0x76 with a placeholder, as the document writes it"
        ),
    ] = True
    voucher_key: Annotated[
        str | None,
        Meta(
            description="private key that signs a session's vouchers in place of private_key; it can spend what is "
            "deposited in channels opened with it, and nothing else",
            extra=SECRET,
        ),
    ] = None
    escrows: Annotated[
        tuple[str, ...],
        Meta(
            description="addresses of more escrows that may take a session's deposit. Weakens: whoever made such a "
            "contract decides about the deposit"
        ),
    ] = ()
    session_protocols: Annotated[
        tuple[str, ...],
        Meta(
            description='session protocols that are paid: "v2", and "v1", whose close takes all that was signed even '
            "if less was spent; none for no sessions"
        ),
    ] = ("v2", "v1")
