"""Settings: mistakes are named, chains are compared, secrets stay hidden."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from coinslot.errors import ConfigError, RpcUnreachable, UsageError
from coinslot.method import load
from coinslot.methods.tempo.method import METHOD
from coinslot.methods.tempo.settings import Accept, KnownToken, Wallet
from coinslot.settings import settings
from support.temposhop import ALPHA, PATH, Shop, fresh_address

SECRET = "5a" * 32


def test_the_method_is_found_by_its_name() -> None:
    """Under the entry point, with an intent for each side."""
    assert load("tempo") is METHOD
    assert METHOD.name == "tempo"


@pytest.mark.parametrize("kind", [Accept, Wallet, KnownToken])
def test_every_field_says_what_it_is_for(kind: type[msgspec.Struct]) -> None:
    """Programs make their help out of it."""
    for field in msgspec.structs.fields(kind):
        notes = getattr(field.type, "__metadata__", ())
        assert any(isinstance(note, msgspec.Meta) and note.description for note in notes), field.name


@pytest.mark.guard("T38")
@pytest.mark.parametrize(
    ("kind", "secrets", "others"),
    [
        (Accept, ["fee_payer_key", "session_key"], {"rpc_url": "http://127.0.0.1:1", "recipient": "0x" + "11" * 20}),
        (Wallet, ["private_key", "voucher_key"], {"rpc_url": "http://127.0.0.1:1"}),
    ],
)
def test_secrets_are_marked_and_hidden(kind: type[msgspec.Struct], secrets: list[str], others: dict[str, str]) -> None:
    """In no repr, no str and no format; and programs can tell which fields to hide."""
    made = kind(**others, **dict.fromkeys(secrets, SECRET))
    assert SECRET not in repr(made) + str(made) + f"{made}"
    assert "127.0.0.1" in repr(made)
    marked = [
        field.name
        for field in msgspec.structs.fields(kind)
        for note in field.type.__metadata__
        if (note.extra or {}).get("secret")
    ]
    assert marked == secrets


@pytest.mark.guard("T38")
@pytest.mark.parametrize("bad", ["5a" * 31, "zz" * 32, "", "00" * 32, "ff" * 32])
def test_a_bad_key_is_not_repeated(shop: Shop, bad: str) -> None:
    """The message names the setting and what would do."""
    with pytest.raises(ConfigError, match="private_key") as error:
        shop.run(METHOD.payers(Wallet(rpc_url=shop.chain.rpc_url, private_key=bad)))
    assert bad == "" or bad not in str(error.value)
    with pytest.raises(ConfigError, match="fee_payer_key"):
        shop.seller(fee_payer_key=bad)


WRONG_ACCEPT: dict[str, dict[str, Any]] = {
    "recipient": {"recipient": "treasury.eth"},
    "currency": {"currency": "0x" + "11" * 20},
    "memo": {"memo": "0x1234"},
    "modes": {"modes": ("teleport",)},
    "modes ": {"modes": ()},
    "proof_versions": {"proof_versions": ("4",)},
    "proof_versions ": {"proof_versions": ()},
    "decimals": {"decimals": 18},
    "chain_id": {"chain_id": 4217},
    "fee_token": {"fee_token": ALPHA},
    "fee_token ": {"fee_payer_key": SECRET, "fee_token": "0x" + "11" * 20},
    "sponsor_max_fee": {"fee_payer_key": SECRET, "sponsor_max_fee": "-1"},
    "sponsor_daily": {"fee_payer_key": SECRET, "sponsor_daily": "lots"},
    "currency ": {"currency": "0x20c0" + "11" * 18},
}


@pytest.mark.guard("T07")
@pytest.mark.parametrize("name", WRONG_ACCEPT)
def test_a_wrong_setting_of_a_seller_is_named(shop: Shop, name: str) -> None:
    """Before anything is offered; the wrong chain too."""
    with pytest.raises(ConfigError, match=name.strip()):
        shop.seller(**WRONG_ACCEPT[name])


WRONG_WALLET: dict[str, dict[str, Any]] = {
    "account": {"account": "me"},
    "mode": {"mode": "teleport"},
    "chain_id": {"chain_id": 4217},
    "fee_token": {"fee_token": "0x" + "11" * 20},
    "proof_version": {"proof_version": "4"},
    "key_authorization": {"key_authorization": "0xc0"},
    "tokens": {"tokens": (KnownToken(address="x", decimals=6),)},
}


@pytest.mark.guard("T07")
@pytest.mark.parametrize("name", WRONG_WALLET)
def test_a_wrong_setting_of_a_wallet_is_named(shop: Shop, name: str) -> None:
    """Before anything is signed; the wrong chain too."""
    with pytest.raises(ConfigError, match=name):
        shop.payer(shop.account(dollars=0), **WRONG_WALLET[name])


def test_settings_come_from_tables_too(shop: Shop) -> None:
    """As configuration files and flags give them."""
    recipient = fresh_address()
    accept = settings(METHOD.Accept, {"rpc_url": shop.chain.rpc_url, "recipient": recipient, "modes": ["pull"]}, "x")
    (seller,) = shop.run(METHOD.sellers(accept))
    assert seller.config.modes == ("pull",)
    with pytest.raises(ConfigError, match="recipent"):
        settings(METHOD.Accept, {"rpc_url": "x", "recipent": recipient}, "x")
    wallet = settings(
        METHOD.Wallet,
        {"rpc_url": "x", "private_key": SECRET, "tokens": [{"address": PATH, "decimals": 6, "peg": "USD"}]},
        "x",
    )
    assert isinstance(wallet, Wallet)
    assert wallet.tokens[0].peg == "USD"


@pytest.mark.guard("T38")
def test_a_secret_may_stay_in_the_environment() -> None:
    """The file names the variable; a variable that is not set is a named mistake, and so is saying it twice."""
    table = {"rpc_url": "x", "recipient": "y", "fee_payer_key_env": "MY_KEY"}
    made = settings(METHOD.Accept, table, "x", {"MY_KEY": SECRET})
    assert isinstance(made, Accept)
    assert made.fee_payer_key == SECRET
    with pytest.raises(ConfigError, match="fee_payer_key_env"):
        settings(METHOD.Accept, table, "x", {})
    with pytest.raises(ConfigError, match="both set"):
        settings(METHOD.Accept, {**table, "fee_payer_key": SECRET}, "x", {"MY_KEY": SECRET})
    with pytest.raises(ConfigError, match="unknown setting 'nonsense_env'"):
        settings(METHOD.Accept, {"nonsense_env": "MY_KEY"}, "x", {"MY_KEY": SECRET})


def test_settings_of_the_other_side_are_refused(shop: Shop) -> None:
    """A mistake of the program, not of its user."""
    with pytest.raises(UsageError):
        shop.run(METHOD.sellers(KnownToken(address=PATH, decimals=6)))
    with pytest.raises(UsageError):
        shop.run(METHOD.payers(KnownToken(address=PATH, decimals=6)))


def test_a_node_that_is_away_is_not_a_wrong_setting(shop: Shop) -> None:
    """Worth trying again, unlike a mistake."""
    with pytest.raises(RpcUnreachable):
        shop.seller(rpc_url="http://127.0.0.1:1")


@pytest.mark.guard("T38")
def test_addresses_of_nodes_are_in_no_repr(shop: Shop) -> None:
    """Providers put keys into them."""
    assert shop.chain.rpc_url not in repr(shop.seller())
    assert shop.chain.rpc_url not in repr(shop.payer(shop.account(dollars=0)))
