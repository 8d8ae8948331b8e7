"""Settings: mistakes are named, clusters and tokens are compared, secrets stay hidden."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coinslot.chains.solana.programs import TOKEN_2022_PROGRAM
from coinslot.chains.solana.tokens import ExtensionKind
from coinslot.errors import ConfigError, RpcUnreachable, UsageError
from coinslot.method import load
from coinslot.methods.solana.method import METHOD
from coinslot.methods.solana.settings import Accept, KnownToken, Wallet
from coinslot.methods.solana.tokens import PYUSD, USDC
from coinslot.settings import settings
from support.rpcfault import FaultyNode, answer
from support.solanashop import SolanaShop, fee_config, fresh_key, key_text

SECRET = "0x" + "5a" * 32


@pytest.mark.spec("SCHG-002")
def test_the_method_is_found_by_its_name() -> None:
    """Under the entry point, in lower case."""
    assert load("solana") is METHOD
    assert METHOD.name == "solana"


@pytest.mark.parametrize("kind", [Accept, Wallet, KnownToken])
def test_every_field_says_what_it_is_for(kind: type[msgspec.Struct]) -> None:
    """Programs make their help out of it."""
    for field in msgspec.structs.fields(kind):
        notes = getattr(field.type, "__metadata__", ())
        assert any(isinstance(note, msgspec.Meta) and note.description for note in notes), field.name


@pytest.mark.guard("T38")
@pytest.mark.parametrize(("kind", "secret"), [(Accept, "fee_payer_key"), (Wallet, "private_key")])
def test_secrets_are_marked_and_hidden(kind: type[msgspec.Struct], secret: str) -> None:
    """In no repr, no str and no format; and programs can tell which fields to hide."""
    others = {"rpc_url": "http://127.0.0.1:1"} | ({"recipient": USDC} if kind is Accept else {})
    made = kind(**others, **{secret: SECRET})
    assert SECRET not in repr(made) + str(made) + f"{made}"
    assert "127.0.0.1" in repr(made)
    marked = {
        field.name
        for field in msgspec.structs.fields(kind)
        for note in field.type.__metadata__
        if (note.extra or {}).get("secret")
    }
    assert secret in marked


@pytest.mark.guard("T38")
@pytest.mark.parametrize("bad", ["0x" + "5a" * 31, "0x" + "5A" * 32, "5a" * 32, "[1,2]", "x" * 88, ""])
def test_a_bad_key_is_not_repeated(solshop: SolanaShop, bad: str) -> None:
    """The message names the setting and what would do."""
    with pytest.raises(ConfigError, match="private_key") as error:
        solshop.run(METHOD.payers(Wallet(rpc_url=solshop.chain.rpc_url, network="localnet", private_key=bad)))
    assert bad == "" or bad not in str(error.value)
    with pytest.raises(ConfigError, match="fee_payer_key"):
        solshop.seller(fee_payer_key=bad)


WRONG_ACCEPT: dict[str, dict[str, Any]] = {
    "recipient": {"recipient": "treasury.sol"},
    "recipient ": {"recipient": fresh_key().address},
    "recipient  ": {"recipient": fresh_key().address, "currency": "sol"},
    "currency": {"currency": "EUR"},
    "currency ": {"currency": fresh_key().address},
    "currency  ": {"currency": TOKEN_2022_PROGRAM},
    "network": {"network": "mainnet-beta"},
    "network ": {"network": "mainnet"},
    "network  ": {"network": "devnet"},
    "decimals": {"decimals": 9},
    "decimals ": {"decimals": 6, "currency": "sol"},
    "modes": {"modes": ("teleport",)},
    "modes ": {"modes": ()},
    "modes  ": {"modes": ("push",), "fee_payer_key": SECRET},
    "commitment": {"commitment": "processed"},
    "trusted_extensions": {"trusted_extensions": ("transferFee",)},
    "sponsor_max_fee": {"fee_payer_key": SECRET, "sponsor_max_fee": "-1"},
    "sponsor_daily": {"fee_payer_key": SECRET, "sponsor_daily": "lots"},
    "sponsor_payer_daily": {"fee_payer_key": SECRET, "sponsor_payer_daily": "99999999999999"},
}


@pytest.mark.guard("T07", "T28")
@pytest.mark.parametrize("name", WRONG_ACCEPT)
def test_a_wrong_setting_of_a_seller_is_named(solshop: SolanaShop, name: str) -> None:
    """Before anything is offered; the wrong cluster, and a recipient that can't be paid, too."""
    with pytest.raises(ConfigError, match=name.strip()):
        solshop.seller(**{"recipient": solshop.payee()} | WRONG_ACCEPT[name])


WRONG_WALLET: dict[str, dict[str, Any]] = {
    "mode": {"mode": "teleport"},
    "network": {"network": "mainnet"},
    "network ": {"network": "solana"},
    "max_fee": {"max_fee": "some"},
    "tokens": {"tokens": (KnownToken(mint="x", decimals=6),)},
}


@pytest.mark.guard("T07", "T47")
@pytest.mark.parametrize("name", WRONG_WALLET)
def test_a_wrong_setting_of_a_wallet_is_named(solshop: SolanaShop, name: str) -> None:
    """Before anything is signed; the wrong cluster too."""
    with pytest.raises(ConfigError, match=name.strip()):
        solshop.payer(fresh_key(), **WRONG_WALLET[name])


@pytest.mark.guard("T07", "T47")
def test_a_node_of_the_main_network_is_no_local_one(solshop: SolanaShop, faulty_svm: FaultyNode) -> None:
    """Its genesis hash says so: nobody signs for real money by mistake."""
    faulty_svm.on("getGenesisHash", answer("5eykt4UsFv8P8NJdTREpY1vzqKqZKvdpKuc147dw2N9d"))
    with pytest.raises(ConfigError, match="is on mainnet"):
        solshop.payer(fresh_key(), rpc_url=faulty_svm.url)
    with pytest.raises(ConfigError, match="is on mainnet"):
        solshop.seller(rpc_url=faulty_svm.url)
    payer = solshop.payer(fresh_key(), rpc_url=faulty_svm.url, network="mainnet")
    assert payer.config.network == "solana:5eykt4UsFv8P8NJdTREpY1vzqKqZKvdp"


@pytest.mark.guard("T28")
def test_a_frozen_recipient_is_told_at_once(solshop: SolanaShop) -> None:
    """Its payments would fail one by one."""
    recipient = solshop.payee()
    solshop.patch(solshop.ata(recipient), 108, b"\x02")
    with pytest.raises(ConfigError, match="frozen"):
        solshop.seller(recipient=recipient)


@pytest.mark.guard("T29")
def test_tokens_with_extensions_are_taken_or_named(solshop: SolanaShop) -> None:
    """A fee is refused; powers of the issuer need a line in the settings."""
    recipient, mint = fresh_key().address, fresh_key().address
    solshop.set_mint(mint, fee_config(1))
    with pytest.raises(ConfigError, match="transfer fee"):
        solshop.seller(currency=mint, recipient=recipient)
    solshop.set_mint(mint, (ExtensionKind.PERMANENT_DELEGATE, bytes(32)))
    solshop.mint_to(recipient, mint, 1)
    with pytest.raises(ConfigError, match="permanent delegate"):
        solshop.seller(currency=mint, recipient=recipient)
    seller = solshop.seller(currency=mint, recipient=recipient, trusted_extensions=("permanentDelegate",))
    assert seller.config.asset.peg is None


@pytest.mark.guard("T07", "T29")
def test_a_known_token_is_what_we_know_of_it(solshop: SolanaShop) -> None:
    """Another program or other decimals under its address are another token."""
    recipient = solshop.payee()
    solshop.set_mint(PYUSD, decimals=9)
    with pytest.raises(ConfigError, match="not the PYUSD"):
        solshop.seller(currency="PYUSD", recipient=recipient)
    solshop.set_mint(USDC)
    with pytest.raises(ConfigError, match="not the USDC"):
        solshop.seller(recipient=recipient)


def test_settings_come_from_tables_too(solshop: SolanaShop) -> None:
    """As configuration files and flags give them."""
    table = {"rpc_url": solshop.chain.rpc_url, "recipient": solshop.payee(), "network": "localnet", "modes": ["pull"]}
    (seller,) = solshop.run(METHOD.sellers(settings(METHOD.Accept, table, "x")))
    assert seller.config.modes == ("pull",)
    key = solshop.account()
    purse = {"rpc_url": solshop.chain.rpc_url, "private_key": key_text(key), "network": "localnet"}
    (payer,) = solshop.run(METHOD.payers(settings(METHOD.Wallet, purse, "x")))
    assert payer.config.account == key.address
    with pytest.raises(ConfigError, match="recipent"):
        settings(METHOD.Accept, {"rpc_url": "x", "recipent": "y"}, "x")


def test_settings_of_another_method_are_refused(solshop: SolanaShop) -> None:
    """Whatever they look like."""
    other = load("tempo").Accept
    with pytest.raises(UsageError):
        solshop.run(METHOD.sellers(msgspec.convert({"rpc_url": "x", "recipient": "y"}, other)))
    with pytest.raises(UsageError):
        solshop.run(METHOD.payers(Accept(rpc_url="x", recipient="y")))


def test_a_node_that_is_away_is_told(solshop: SolanaShop) -> None:
    """Not as a wrong setting."""
    with pytest.raises(RpcUnreachable):
        solshop.run(METHOD.payers(Wallet(rpc_url="http://127.0.0.1:1", private_key=SECRET)))
