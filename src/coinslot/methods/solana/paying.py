"""What every payment of one account needs: its settings, what the chain says of it, and what it may cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from coinslot.chains.solana.ata import derive_ata
from coinslot.chains.solana.rpc import account, accounts, is_blockhash_valid, latest_blockhash, minimum_balance
from coinslot.chains.solana.signature import Key
from coinslot.chains.solana.tokens import TOKEN_ACCOUNT_BYTES, TokenState, read_mint, read_token_account
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, NoPayableOffer
from coinslot.methods.solana import tokens
from coinslot.methods.solana.terms import SolanaTerms
from coinslot.methods.solana.tokens import Token
from coinslot.methods.solana.transaction.read import LAMPORTS_PER_SIGNATURE
from coinslot.money import Asset

NAME = "solana"
_MICRO = 1_000_000


@dataclass(frozen=True, slots=True)
class PayerConfig:
    """A payer's settings, parsed and completed by the chain; see settings.Wallet."""

    rpc_url: str = field(repr=False)  # providers put keys into it
    cluster: str
    network: str
    key: Key
    mode: str
    unit_price: int
    max_fee_lamports: int
    tokens: Mapping[str, Token]
    max_rent_lamports: int = 0

    @property
    def account(self) -> str:
        """Who pays."""
        return self.key.address

    def asset(self, cluster: str, mint: str, decimals: int | None) -> Asset:
        """The asset of a mint, with what this wallet knows of it; decimals are never the server's word."""
        if cluster != self.cluster:
            return Asset(tokens.network_of(cluster), mint)
        return tokens.asset(self.network, mint, self.tokens.get(mint))


def require_token(config: PayerConfig, terms: SolanaTerms) -> None:
    """That a token is one we know, with the decimals and the program that we know. Raises NoPayableOffer. T29 T47"""
    if terms.native:
        return
    known = config.tokens.get(terms.mint)
    if known is None:  # T47 SCHG-187
        raise NoPayableOffer(f"solana: the token {terms.mint} is neither pinned nor in this wallet's tokens")
    if terms.decimals != known.decimals:  # T29
        raise NoPayableOffer(f"solana: the token has {known.decimals} decimals, and the server says otherwise")
    if terms.token_program not in (None, known.program):  # T29
        raise NoPayableOffer("solana: the server names another token program than the token's")


# --- asking the chain ----------------------------------------------------------------------------


def token_program(config: PayerConfig, terms: SolanaTerms) -> Flow[str | None]:
    """The program of the token: named by the server and known to us, else the mint's owner, which must be that too.

    SCHG-020, SCHG-021. Raises NoPayableOffer, ChainError.
    """
    if terms.native or terms.token_program is not None:
        return terms.token_program
    found = yield from account(config.rpc_url, terms.mint)
    known = config.tokens[terms.mint]
    try:
        owner = None if found is None else read_mint(found.owner, found.data).program
    except BadTransaction:
        owner = None
    if owner != known.program:
        raise NoPayableOffer("solana: the token's program can't be verified on the chain")
    return owner


def usable_blockhash(config: PayerConfig, offered: str | None) -> Flow[str]:
    """The server's blockhash while it is good (SCHG-038, SCHG-200), else one of our own node."""
    if offered is not None and (yield from is_blockhash_valid(config.rpc_url, offered)):
        return offered
    return (yield from latest_blockhash(config.rpc_url)).blockhash


def require_funds(config: PayerConfig, terms: SolanaTerms, program: str | None, units: int) -> Flow[None]:
    """That the account holds what is paid, and the network's fee and rent where those are ours to pay.

    Raises NoPayableOffer, ChainError.
    """
    places = [config.account] if program is None else [config.account, derive_ata(config.account, terms.mint, program)]
    found = yield from accounts(config.rpc_url, places)
    held_lamports = 0 if found[0] is None else found[0].lamports
    fee = 0 if terms.fee_payer is not None else (yield from _fee(config, terms, units))
    if fee > config.max_fee_lamports:
        raise NoPayableOffer("solana: the network would cost more than this wallet's max_fee")
    needed = fee + (terms.amount_units if program is None else 0)
    if held_lamports < needed:
        raise NoPayableOffer(f"solana: {config.account} holds {held_lamports} lamports; {needed} are needed")
    if program is None:
        return
    held = 0
    try:
        purse = None if found[1] is None else read_token_account(found[1].owner, found[1].data)
    except BadTransaction:
        purse = None
    if purse is not None and purse.state is TokenState.INITIALIZED:
        held = purse.amount_units
    if held < terms.amount_units:
        asset = terms.asset
        raise NoPayableOffer(
            f"solana: {config.account} holds {asset.text(held)}; {asset.text(terms.amount_units)} are needed"
        )


def _fee(config: PayerConfig, terms: SolanaTerms, units: int) -> Flow[int]:
    """Lamports that this payment may cost its payer."""
    created = sum(leg.creates_account for leg in terms.legs)
    rent = (yield from minimum_balance(config.rpc_url, TOKEN_ACCOUNT_BYTES)) * created if created else 0
    if rent > config.max_rent_lamports:  # T47: its owners close them and keep it, once for each payment
        raise NoPayableOffer("solana: the charge creates accounts of others at our cost (max_rent)")
    return LAMPORTS_PER_SIGNATURE + -(-units * config.unit_price // _MICRO) + rent
