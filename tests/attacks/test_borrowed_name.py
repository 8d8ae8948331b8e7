"""An access key's signature names the account it acts for; anybody can write down somebody else's account."""

from __future__ import annotations

import secrets
import time
from dataclasses import replace

import httpx
import pytest

from coinslot.chains.evm.signature import PrivateKey
from coinslot.core.challenge import KeyRing
from coinslot.core.credential import encode_credential
from coinslot.drive import RealWorld
from coinslot.methods.tempo.access_key import KEYCHAIN
from coinslot.methods.tempo.transaction.build import serialise, sign_with_access_key
from coinslot.methods.tempo.transaction.key_authorization import KeyAuthorization, sign_key_authorization
from coinslot.server.admission import Admission
from coinslot.server.answer import Answer
from coinslot.server.gate import Gate
from coinslot.server.issue import Issuer
from coinslot.server.price import Price
from coinslot.server.request import Incoming
from coinslot.store.memory import MemoryStore
from coinslot.store.protocol import Delivery
from support.devnet import Chain
from support.temposhop import Shop, payload
from support.till import REALM, SECRET, offered, problem

ORDER = {"idempotency-key": ("order-1",)}
GOODS = b"what the victim paid for"


@pytest.mark.guard("T18")
@pytest.mark.parametrize(
    "brought", ["nothing", "an authorization that the thief signed", "another key's authorization"]
)
def test_a_key_that_may_not_act_for_an_account_gets_nothing_of_what_the_account_paid_for(
    devnet: Chain, brought: str
) -> None:
    """Not even with the account's Idempotency-Key: whose key it is, is settled before the key is looked up."""
    with httpx.Client() as client:
        shop = Shop(devnet, RealWorld(client))
        gate = Gate(Issuer(REALM, KeyRing((SECRET,))), MemoryStore(), 0.0)
        price = Price("0.25", [shop.seller()])

        def ask(credential: str | None = None) -> Answer | Admission:
            headers = dict(ORDER) if credential is None else {**ORDER, "authorization": (credential,)}
            got = shop.run(gate.admit(Incoming("GET", "/paid", headers=headers), price))
            assert isinstance(got, Answer | Admission)
            return got

        victim, thief = shop.account(), PrivateKey(secrets.token_bytes(32))
        unpaid = ask()
        assert isinstance(unpaid, Answer)
        challenge = offered(unpaid)[0]
        shown = shop.pay(shop.payer(victim), challenge)
        admitted = ask(encode_credential(challenge, shown.payload, shown.source))
        assert isinstance(admitted, Admission)
        shop.run(gate.delivered(admitted, Delivery(200, (), GOODS)))

        unpaid = ask()
        assert isinstance(unpaid, Answer)
        challenge = offered(unpaid)[0]
        tx = shop.transaction(shop.payer(victim), challenge)
        end = int(time.time()) + 3600
        if brought != "nothing":
            mine = brought.endswith("signed")
            key = thief.address if mine else KEYCHAIN
            authorization = KeyAuthorization(key, shop.chain.chain_id, expires_at=end)
            tx = replace(tx, key_authorization=sign_key_authorization(authorization, thief if mine else victim))
        forged = serialise(sign_with_access_key(tx, thief, victim.address))
        answer = ask(encode_credential(challenge, payload(forged), None))
        assert isinstance(answer, Answer)
        assert GOODS not in answer.body
        assert (answer.status, problem(answer)["detail"]) == (
            402,
            "the access key that signed is not authorized for this account (any more)",
        )
