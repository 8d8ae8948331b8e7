"""`coinslot demo`: the main job, for real."""

from __future__ import annotations

import json

import pytest

from coinslot.cli.main import main

pytestmark = pytest.mark.devnet


CHAINS = pytest.mark.parametrize("chain", ["tempo", "solana"])


@CHAINS
def test_the_demo_pays_for_real(chain: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A chain, a gate, one payment; the seller has exactly the price, and replays get nothing new."""
    assert main(["demo", f"--{chain}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["seller_received_units"] == told["challenge"]["request"]["amount"] == "10000"
    assert int(told["buyer_spent_units"]) >= 10_000
    assert told["receipt"]["status"] == "success"
    assert told["replays"] == {"same": 200, "another_path": 402, "changed": 402}


def test_the_demo_tells_a_story(capsys: pytest.CaptureFixture[str]) -> None:
    """In six chapters that a newcomer can follow."""
    assert main(["demo"]) == 0
    told = capsys.readouterr().out
    for words in ("1. A local", "HTTP 402", "Payment-Receipt", "seller", "+0.01", "Paid once, served once"):
        assert words in told


@CHAINS
def test_a_stream_is_paid_token_by_token_and_the_rest_comes_back(
    chain: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Many vouchers, two transactions; the chain pays out what the tokens cost and refunds the rest."""
    assert main(["demo", "--stream", f"--{chain}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    price = int(told["challenge"]["request"]["amount"])
    assert told["tokens"] > 50
    assert told["spent_units"] == told["seller_received_units"] == str(price * told["tokens"])
    assert int(told["refunded_units"]) == int(told["deposit_units"]) - int(told["spent_units"])
    assert told["vouchers"] > 3
    assert -int(told["changes_units"]["buyer"]) >= int(told["spent_units"])
    assert 0 < int(told["changes_units"]["seller"]) <= int(told["spent_units"])


def test_the_stream_is_a_story_too(capsys: pytest.CaptureFixture[str]) -> None:
    """With the words as they came."""
    assert main(["demo", "--stream"]) == 0
    told = capsys.readouterr().out
    for words in (
        "1. A local",
        "HTTP 402",
        "You put a deposit in escrow",
        "signed vouchers",
        "back to the buyer",
        "seller",
    ):
        assert words in told


def test_an_unknown_chain_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    """And names those there are."""
    assert main(["demo", "--chain", "gold"]) == 2
    assert "tempo" in capsys.readouterr().err
