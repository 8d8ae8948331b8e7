"""`coinslot demo`: one paid request from beginning to end, on a chain of its own, told as it happens."""

from __future__ import annotations

import base64
import http.server
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer

from coinslot.cli import demostream
from coinslot.cli.demostage import BUYER, SELLER, DemoFailed, Scene, Story, node_flags, running_gate, shown_challenge
from coinslot.cli.devnetflags import DEFAULT, with_chain_flags
from coinslot.cli.output import console, print_json
from coinslot.client.events import Paid
from coinslot.client.wallet import wallet
from coinslot.devnet.protocol import facts_text, find_devnet
from coinslot.method import Holding
from coinslot.money import to_text
from coinslot.transports.httpx import RESULT, pay

PRICE = "0.01"
PATH = "/paid/joke"
ANSWER = {"joke": "A coin walks into a slot. The API says: 200."}


@dataclass
class _Api:
    """An ordinary HTTP API that knows nothing of payments, and how often it was asked for what is paid."""

    url: str
    calls: list[str] = field(default_factory=list)


@contextmanager
def _ordinary_api() -> Iterator[_Api]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            api.calls.append(self.path)
            body = json.dumps(ANSWER).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: the story is told elsewhere."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    api = _Api(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield api
    finally:
        server.shutdown()
        server.server_close()


class _Listening(httpx.HTTPTransport):
    """A transport that remembers the credential that passed, to show later that it works once only."""

    credential = ""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sent = request.headers.get("authorization", "")
        self.credential = sent if sent.startswith("Payment ") else self.credential
        return super().handle_request(request)


def _pay(story: Story, scene: Scene, url: str, listening: _Listening) -> Paid:
    buyer = scene.chain.accounts[BUYER]
    settings = {**scene.chain.settings, "rpc_url": scene.chain.rpc_url, "private_key": buyer.private_key}
    with pay(httpx.Client(transport=listening, timeout=30), wallet(**{scene.method: settings})) as client:
        began = time.monotonic()
        response = client.get(url + PATH)
        took_ms = (time.monotonic() - began) * 1000
    story.expect("the paid answer", 200, response.status_code)
    done = response.extensions[RESULT]
    if not isinstance(done, Paid) or done.receipt is None:
        raise DemoFailed("the gate sent no receipt")
    story.say(
        f"[bold]HTTP 200[/bold] {response.text}   ({took_ms:.0f} ms: asked, signed, settled on the chain, served)"
    )
    story.say("[bold]Payment-Receipt[/bold]")
    for name, value in done.receipt.members().items():
        story.say(f"  {name:<12}{value}")
    story.facts["receipt"] = done.receipt.members()
    return done


def _balances(story: Story, scene: Scene, before: tuple[Holding, Holding], amount_units: int) -> None:
    after = (scene.owns(scene.chain.accounts[BUYER]), scene.owns(scene.chain.accounts[SELLER]))
    decimals = after[1].asset.decimals or 0
    changed = [now.amount_units - then.amount_units for then, now in zip(before, after, strict=True)]
    for who, change in zip(("buyer", "seller"), changed, strict=True):
        story.say(f"  {who:<8} {'+' if change > 0 else ''}{to_text(change, decimals)} {after[1].asset.symbol}")
    fee_units = -changed[0] - amount_units
    if fee_units:
        story.say(f"  The buyer also paid the network's fee: {to_text(fee_units, decimals)}.")
    else:
        story.say("  The network's fee was paid in the chain's own coin.")
    story.expect("what the seller got", amount_units, changed[1])
    story.facts["seller_received_units"] = str(changed[1])
    story.facts["buyer_spent_units"] = str(-changed[0])


def _replay(story: Story, scene: Scene, url: str, credential: str, api: _Api) -> None:
    paid = {"Authorization": credential}
    again = httpx.get(url + PATH, headers=paid)
    story.expect("the same credential on the same request", 200, again.status_code)
    story.expect("how often the API ran", 1, len(api.calls))
    story.say(
        f"the same request:   HTTP {again.status_code}, the stored answer; the API ran {len(api.calls)} time, paid once"
    )
    other = httpx.get(url + "/paid/another", headers=paid)
    story.expect("the same credential on another path", 402, other.status_code)
    story.say(f"another path:       HTTP {other.status_code}, {other.json()['detail']}")
    token = credential.removeprefix("Payment ")
    forged = json.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
    forged["challenge"]["expires"] = "2099-01-01T00:00:00Z"
    changed = base64.urlsafe_b64encode(json.dumps(forged).encode()).decode().rstrip("=")
    lied = httpx.get(url + PATH, headers={"Authorization": f"Payment {changed}"})
    story.expect("a changed credential", 402, lied.status_code)
    story.say(f"a changed word:     HTTP {lied.status_code}, {lied.json()['detail']}")
    story.expect("how often the API ran in the end", 1, len(api.calls))
    story.facts["replays"] = {"same": again.status_code, "another_path": other.status_code, "changed": lied.status_code}


def _tell(story: Story, chain_name: str) -> None:
    story.chapter(f"A local {chain_name.capitalize()} chain, with accounts that hold test dollars")
    with (
        tempfile.TemporaryDirectory(prefix="coinslot-demo-") as folder,
        closing(find_devnet(chain_name).start()) as chain,
        _ordinary_api() as api,
    ):
        scene = Scene(chain, chain_name, next(iter(chain.tokens.values())))
        buyer, seller = chain.accounts[BUYER], chain.accounts[SELLER]
        before = (scene.owns(buyer), scene.owns(seller))
        story.say(f"RPC {chain.rpc_url}, {facts_text(chain)}; buyer {buyer.address}, seller {seller.address}")

        story.chapter("A coin slot in front of an ordinary API that knows nothing of payments")
        priced = f"GET /paid/*={PRICE}"
        arguments = ["--upstream", api.url, "--price", priced, "--recipient", seller.address]
        arguments += [*node_flags(chain, chain_name), "--realm", "demo.example", "--listen"]
        arguments += ["127.0.0.1:0", "--store", f"sqlite:///{Path(folder, 'demo.sqlite')}"]
        story.say(f"$ coinslot gate --upstream {api.url} --price '{priced}' --recipient {seller.address[:10]}...")
        with running_gate(arguments, folder) as url:
            story.say(f"charging at {url}")

            story.chapter("A request without money")
            story.say(f"GET {url}{PATH}")
            shown_challenge(story, httpx.get(url + PATH))

            story.chapter("The same request from a program with a purse (limit: 1 dollar a request)")
            listening = _Listening()
            done = _pay(story, scene, url, listening)

            story.chapter("What the chain says")
            _balances(story, scene, before, done.terms.amount_units)

            story.chapter("The same credential again, and where it does not belong")
            _replay(story, scene, url, listening.credential, api)


def demo(
    stream: Annotated[
        bool, typer.Option("--stream", help="A stream instead, as of a language model, paid token by token.")
    ] = False,
    chain: str = DEFAULT,
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON with the facts instead.")] = False,
) -> None:
    """Show the whole story on this machine, for real: chain, gate, 402, payment, receipt, balances, replays.

    With --stream: a channel is opened, a stream is paid token by token, and closing gives back what was not spent.
    Nothing outside this machine is touched, except that the first run may fetch the chain's program through npm.
    """
    story = Story(as_json)
    (demostream.tell if stream else _tell)(story, chain)
    took_s = time.monotonic() - story.began
    if as_json:
        print_json({**story.facts, "seconds": round(took_s, 1)})
    else:
        moral = "Paid for what came, and not a token more" if stream else "Paid once, served once"
        console().print(f"\n[bold green]{moral}[/bold green], in {took_s:.1f} s. Next: coinslot gate --help")


command = with_chain_flags(demo, starts=False)
