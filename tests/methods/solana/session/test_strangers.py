"""Two services of one recipient: nothing on the chain names a service, so the doctor tells of what is not on record."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from solders.keypair import Keypair

from coinslot.cli.main import main
from coinslot.drive import run
from coinslot.services.channelaudit import audit_channels
from coinslot.store.open import open_store
from support.solanaleaving import bought
from support.solanasession import client_of, owner_of, secret
from support.solanatill import SolanaTill
from support.svm import SvmChain

Tills = Callable[..., SolanaTill]


def strangers(till: SolanaTill) -> dict[str, int]:
    """How many channels the doctor finds that are not on record, by network."""
    return dict(run(audit_channels(till.store, [till.seller]), till.world).strangers)


@pytest.mark.guard("T02")
def test_channels_of_another_service_are_seen(solana_till: Tills) -> None:
    """Open ones of the same recipient and token; what is on record, closed, or another's is not told of."""
    here, there = solana_till(seed="one"), solana_till(seed="one")
    other = solana_till(seed="two")
    first, second = there.buyer(), there.buyer()
    here.buyer()
    other.buyer()
    assert strangers(here) == {here.seller.network: 2}
    assert strangers(there) == {here.seller.network: 1}
    assert there.answer(first.close(0)).status == 204
    assert strangers(here) == {here.seller.network: 1}
    second.ask_to_close()
    assert strangers(here) == {}


def test_a_node_that_tells_no_programs_accounts_tells_of_none(solana_till: Tills) -> None:
    """Public nodes don't; nothing is claimed then."""
    here, there = solana_till(seed="one"), solana_till(seed="one")
    there.buyer()
    here.svm.faults.refuse(method="getProgramAccounts")
    assert strangers(here) == {}


def test_the_doctor_tells_and_is_content(
    svm: SvmChain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Anybody can open a channel to anybody: it is told of, and it is no finding."""
    owner = owner_of(svm)
    opened_elsewhere(svm, owner)
    monkeypatch.setenv("COINSLOT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SESSION_KEY", secret(owner))
    store = f"sqlite:///{tmp_path / 'store.sqlite'}"
    open_store(store).close()
    config = tmp_path / "gate.toml"
    config.write_text(
        f'upstream = "http://127.0.0.1:1"\nstore = "{store}"\n[prices]\n"GET /*" = "0.01"\n'
        f'[[accept]]\nmethod = "solana"\nrpc_url = "{svm.rpc_url}"\nnetwork = "localnet"\n'
        f'recipient = "{owner.pubkey()}"\nsession_key_env = "SESSION_KEY"\nmin_deposit = "0"\n'
    )
    assert main(["doctor", "--config", str(config), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["ok"], list(told["channels"]["not_on_record"].values())) == (True, [1])
    assert main(["doctor", "--config", str(config)]) == 0
    assert "1 open channels on solana:" in capsys.readouterr().out


def opened_elsewhere(svm: SvmChain, owner: Keypair) -> None:
    """A service of this owner with a store of its own, which has sold from a channel."""
    bought(svm, client_of(svm), owner=owner, requests=1)
