"""Settings into what sellers and payers work with: parsed, checked against each other, completed by the chain.

Every function raises ConfigError, which names the setting; those that ask the node also ChainError.
"""

from __future__ import annotations

from decimal import Decimal

from coinslot.chains.evm.abi import decode_uint256, encode_call
from coinslot.chains.evm.address import parse_address
from coinslot.chains.evm.hexdata import parse_hex
from coinslot.chains.evm.rpc import chain_id, eth_call
from coinslot.chains.evm.signature import PrivateKey
from coinslot.drive import Flow
from coinslot.errors import BadTransaction, ConfigError, RpcRefused
from coinslot.intents.charge import DailyLimits
from coinslot.methods.tempo.paying import PayerConfig
from coinslot.methods.tempo.proof import VERSIONS
from coinslot.methods.tempo.settings import Accept, KnownToken, Wallet
from coinslot.methods.tempo.sponsor import Sponsor
from coinslot.methods.tempo.terms import MODES
from coinslot.methods.tempo.tokens import PATH_USD, Token, asset, is_tip20, pinned
from coinslot.methods.tempo.transaction.key_authorization import read_key_authorization
from coinslot.money import Asset, parse_decimal, to_units
from coinslot.settings import setting

MAX_DECIMALS = 36  # as in settings.Accept; ten to that power is more than any supply
FEE_DECIMALS = 6  # every token that pays fees is a dollar token of six digits


# --- both sides ----------------------------------------------------------------------------------


def token_setting(name: str, text: str) -> str:
    """The address of a TIP-20 token."""
    address = setting(name, parse_address, text)
    if not is_tip20(address):
        raise ConfigError(f"{name}: not the address of a TIP-20 token (they start with 0x20c0)")
    return address


def own_chain(url: str, wanted: int | None) -> Flow[int]:
    """The chain that the node is on, which must be the `wanted` one."""
    found = yield from chain_id(url)
    if wanted is not None and wanted != found:  # T07
        raise ConfigError(f"chain_id: the node behind rpc_url is on chain {found}, not {wanted}")
    return found


# --- sellers -------------------------------------------------------------------------------------


def asked_asset(accept: Accept, number: int) -> Flow[Asset]:
    """What a seller asks for on the chain of this number; its decimals are the token's own word unless pinned."""
    currency = token_setting("currency", accept.currency)
    token = pinned(number).get(currency) or Token((yield from _decimals(accept, currency)), "")
    if accept.decimals is not None and accept.decimals != token.decimals:
        raise ConfigError(f"decimals: the token has {token.decimals}")
    return asset(number, currency, token)


def _decimals(accept: Accept, currency: str) -> Flow[int]:
    try:
        found = decode_uint256((yield from eth_call(accept.rpc_url, currency, encode_call("decimals()"))))
    except (RpcRefused, BadTransaction):
        raise ConfigError("currency: there is no such token on this chain") from None
    if found > MAX_DECIMALS:
        raise ConfigError("currency: a token with an impossible number of decimals")
    return found


def sponsor_of(accept: Accept) -> Sponsor | None:
    """Who pays the payers' fees, if anybody does."""
    if accept.fee_payer_key is None:
        if accept.fee_token is not None:
            raise ConfigError("fee_token: only a sponsor (fee_payer_key) chooses it")
        return None
    return Sponsor(
        key=setting("fee_payer_key", PrivateKey.from_hex, accept.fee_payer_key),
        fee_token=token_setting("fee_token", accept.fee_token or PATH_USD),
        max_gas=accept.sponsor_max_gas,
        max_fee_per_gas=accept.sponsor_max_fee_per_gas,
        max_fee_units=_dollars("sponsor_max_fee", accept.sponsor_max_fee),
        daily=DailyLimits(
            _dollars("sponsor_payer_daily", accept.sponsor_payer_daily), _dollars("sponsor_daily", accept.sponsor_daily)
        ),
        window_s=accept.sponsor_window_s,
        key_authorization=accept.sponsor_key_authorization,
    )


def _dollars(name: str, text: str) -> int:
    price: Decimal = setting(name, parse_decimal, text)
    return to_units(price, FEE_DECIMALS)


# --- payers --------------------------------------------------------------------------------------


def payer_config(wallet: Wallet) -> Flow[PayerConfig]:
    """What every payer of this wallet works with."""
    key = setting("private_key", PrivateKey.from_hex, wallet.private_key)
    account = key.address if wallet.account is None else setting("account", parse_address, wallet.account)
    authorization = _key_authorization(wallet, key)
    if wallet.mode not in MODES:
        raise ConfigError(f"mode: one of {', '.join(MODES)}")
    if wallet.proof_version not in VERSIONS:
        raise ConfigError(f"proof_version: one of {', '.join(VERSIONS)}")
    own = {setting("tokens", parse_address, one.address): _known(one) for one in wallet.tokens}
    fee_token = None if wallet.fee_token is None else token_setting("fee_token", wallet.fee_token)
    number = yield from own_chain(wallet.rpc_url, wallet.chain_id)
    return PayerConfig(
        rpc_url=wallet.rpc_url,
        chain_id=number,
        account=account,
        key=key,
        key_authorization=authorization,
        fee_token=fee_token,
        mode=wallet.mode,
        max_fee_per_gas=wallet.max_fee_per_gas,
        client_id=wallet.client_id,
        tokens={**own, **pinned(number)},
        sponsor_envelope=wallet.sponsor_envelope,
        proof_version=wallet.proof_version,
    )


def _known(token: KnownToken) -> Token:
    return Token(token.decimals, token.symbol, token.peg)


def _key_authorization(wallet: Wallet, key: PrivateKey) -> bytes | None:
    if wallet.key_authorization is None:
        return None
    raw = setting("key_authorization", parse_hex, wallet.key_authorization)
    try:
        signed = read_key_authorization(raw)
    except BadTransaction as error:
        raise ConfigError(f"key_authorization: {error}") from None
    if signed.authorization.key_id != key.address:
        raise ConfigError("key_authorization: it is for another key than private_key")
    return raw
