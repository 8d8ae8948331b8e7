"""The charge intent's own document, requirement by requirement, through the gate (document CHG; some of CORE)."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest
import trustme

from coinslot.core.instant import parse_instant
from coinslot.drive import RealWorld, run
from coinslot.intents.charge import Payee
from coinslot.method import Extras
from coinslot.methods.tempo.method import METHOD
from coinslot.methods.tempo.settings import Accept
from coinslot.server.answer import Answer
from support.devnet import Chain
from support.till import GET, Till, offered, problem, rewritten, token_of, toy_seller
from support.toy import ToySeller, ToyTerms, cheque_body, read_terms
from support.toybank import Bank, hash_of

TESTS = Path(__file__).resolve().parent.parent
SELLER = "0x742d35cc6634c0532925a3b844bc9e7595f8fe00"
# What the Tempo document lets a request say besides the shared fields.
TEMPO_DETAILS = {"chainId", "feePayer", "memo", "splits", "supportedModes"}


@pytest.mark.spec("CHG-010", "CHG-011", "CHG-021", "CHG-022", "CHG-023")
def test_a_credential_buys_once(till: Till) -> None:
    """A copy moves no money and runs no handler: elsewhere it is refused, at home it gets what was given before."""
    credential = till.bought()
    runs: list[str] = []

    def handler() -> bytes:
        runs.append("once")
        return b"goods"

    assert till.serve(credential, handler=handler).body == b"goods"
    assert till.serve(credential, handler=handler).body == b"goods"
    assert till.serve(credential, replace(GET, path="/paid/other"), handler=handler).status == 402
    assert till.serve(rewritten(credential, {"payer": "alice", "signature": "00"}), handler=handler).status == 409
    assert (runs, till.bank.settled()) == (["once"], 1)


def _paying(till: Till, credential: str, change: Callable[[ToyTerms], ToyTerms]) -> str:
    """The same credential with a payment of other terms, which has really been made at the bank."""
    challenge = token_of(credential).challenge
    body = cheque_body(challenge, change(read_terms(challenge.request_object())), "alice")
    till.bank.submit(body)
    return rewritten(credential, {"payer": "alice", "hash": hash_of(body)})


def _less(terms: ToyTerms) -> ToyTerms:
    units = terms.amount_units - 1
    return replace(terms, amount_units=units, payees=(Payee(terms.payees[0].recipient, units),))


def _elsewhere(terms: ToyTerms) -> ToyTerms:
    return replace(terms, payees=(Payee("bob", terms.amount_units),))


@pytest.mark.spec("CHG-001", "CHG-012", "CHG-013", "CHG-014", "CHG-015", "CHG-016", "CHG-017", "CORE-037")
@pytest.mark.parametrize("check", ["id", "time", "proof", "amount", "recipient"])
def test_each_check_of_the_document_is_made(till: Till, check: str) -> None:
    """A foreign id, a challenge that is over, a false proof, a unit too little, a payment to somebody else."""
    till.bank.open("bob", coin=0)
    credential = till.bought()
    if check == "time":
        till.world.at_s = parse_instant(token_of(credential).challenge.expires or "")
    wrong = {
        "id": lambda: rewritten(credential, id="A" * 43),
        "time": lambda: credential,
        "proof": lambda: rewritten(credential, {"payer": "alice", "signature": "00" * 32}),
        "amount": lambda: _paying(till, credential, _less),
        "recipient": lambda: _paying(till, credential, _elsewhere),
    }[check]()
    answer = till.answer(wrong)
    told = {"id": "invalid-challenge", "time": "payment-expired"}.get(check, "verification-failed")
    assert (answer.status, problem(answer)["slug"]) == (402, told)
    assert till.sums() == {}
    assert offered(answer)


class _Card(ToySeller):
    method = "card"


@pytest.mark.spec("CORE-051", "CORE-057")
def test_who_prefers_nothing_is_offered_everything(bank: Bank, alice: dict[str, object]) -> None:
    """Without Accept-Payment every method and intent of the route is offered."""
    toy = toy_seller(bank)
    assert isinstance(toy, ToySeller)
    till = Till(bank, alice, sellers=[toy, _Card(bank, toy.identity, "shop", "coin")])
    assert [(one.method, one.intent) for one in offered(till.answer(None))] == [("toy", "charge"), ("card", "charge")]
    few = till.present(None, accept_payment="card/charge")
    assert isinstance(few, Answer)
    assert [one.method for one in offered(few)] == ["card"]


@pytest.mark.devnet
@pytest.mark.spec("CHG-005", "CHG-007")
def test_a_request_says_nothing_twice_and_nothing_undocumented(till: Till, devnet: Chain) -> None:
    """The end stands in the challenge only, and Tempo's own members are those that its document describes."""
    settings = Accept(rpc_url=devnet.rpc_url, recipient=SELLER, modes=("pull",))
    with closing(RealWorld()) as world:
        (tempo,) = run(METHOD.sellers(settings), world)
    split = Extras("a report", "order 7", ((devnet.accounts[3].address, Decimal("0.01")),))
    told = [till.challenge().request_object(), dict(tempo.offer(Decimal("0.25"), split))]
    for request in told:
        assert not {"expires", "expiry", "validUntil"} & {*request, *request.get("methodDetails", {})}
        assert str(till.challenge().expires) not in json.dumps(request)
    assert set(told[1]["methodDetails"]) <= TEMPO_DETAILS
    assert set(told[1]) <= {"amount", "currency", "recipient", "description", "externalId", "methodDetails"}


@pytest.mark.spec("CHG-009")
@pytest.mark.parametrize(
    "payload", [{}, {"payer": "alice"}, {"payer": "alice", "signature": None}, {"signature": "00"}]
)
def test_a_payload_without_proof_is_refused(till: Till, payload: dict[str, object]) -> None:
    """Nothing is claimed and nothing moves; the honest payload, which has one, is taken afterwards."""
    credential = till.bought()
    assert till.answer(rewritten(credential, payload)).status == 402
    assert till.bank.settled() == 0
    assert till.serve(credential).status == 200


# --- the gate's own TLS --------------------------------------------------------------------------


def _tls_version(port: int, most: ssl.TLSVersion) -> str | None:
    """What a client that speaks TLS up to `most` agrees on with the server; None where they don't."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")  # this client would take anything
    context.minimum_version, context.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, most
    with socket.create_connection(("127.0.0.1", port), timeout=20) as plain:
        try:
            with context.wrap_socket(plain) as secure:
                return secure.version()
        except (ssl.SSLError, ConnectionError):
            return None


@pytest.mark.spec("CHG-025", "CORE-077", "CORE-078", "SCHG-179", "SSES-248")
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_the_gate_speaks_no_tls_older_than_1_2(bank: Bank, tmp_path: Path) -> None:
    """Clients of today get 1.3 and those of yesterday 1.2; one that knows TLS 1.1 only gets no connection."""
    issued = trustme.CA().issue_cert("localhost")
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    command = [sys.executable, "-m", "coinslot.cli.main", "gate", "--upstream", "http://127.0.0.1:1", "--price"]
    command += ["GET /paid/*=0.01", "--method", "toy", "--bank", bank.path, "--recipient", "shop", "--store", "memory:"]
    command += ["--listen", "127.0.0.1:0", "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--json"]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            port = int(json.loads(process.stdout.readline())["url"].rpartition(":")[2])
            assert _tls_version(port, ssl.TLSVersion.TLSv1_3) == "TLSv1.3"
            assert _tls_version(port, ssl.TLSVersion.TLSv1_2) == "TLSv1.2"
            assert _tls_version(port, ssl.TLSVersion.TLSv1_1) is None
        finally:
            process.terminate()
