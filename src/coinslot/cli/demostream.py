"""`coinslot demo --stream`: an answer that comes token by token, paid token by token from a channel."""

from __future__ import annotations

import http.server
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from rich.console import Console
from rich.live import Live
from rich.text import Text

from coinslot.cli.demostage import BUYER, SELLER, DemoFailed, Scene, Story, node_flags, running_gate, shown_challenge
from coinslot.cli.output import console
from coinslot.client.events import Authorized, Event, Metered, Opened
from coinslot.client.purse import Policy
from coinslot.client.wallet import wallet
from coinslot.devnet.protocol import facts_text, find_devnet
from coinslot.drive import RealWorld, run
from coinslot.intents.acts import Held
from coinslot.money import to_text
from coinslot.store.book_sqlite import SqliteBook
from coinslot.transports.httpx import Session, pay
from coinslot.transports.httpx import session as session_of

PRICE = "0.0001"
PATH = "/v1/chat/completions"
DEPOSIT = "0.5"
# Tokens that are set aside by the server, and paid ahead by the client: few, so that vouchers are seen to go.
WINDOW = 8
# As fast as a person reads, and a little faster.
TOKEN_S = 0.02
QUESTION = {"stream": True, "messages": [{"role": "user", "content": "What is a payment channel?"}]}
ANSWER = (
    "You put a deposit in escrow, once. Then, for every word that I say, you sign a slip of paper: the total that I "
    "may take so far. Slips cost nothing and need no chain. If I stop, you stop; if you leave, I keep the last slip. "
    "When we are done I hand it in, take what I earned, and the rest of your deposit goes home with you."
)


@contextmanager
def _model() -> Iterator[str]:
    """A language model, as far as its protocol goes: the same words each time. Its URL."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", "0")))
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for number, word in enumerate(ANSWER.split()):
                text = word if number == 0 else f" {word}"
                self._event(json.dumps({"choices": [{"delta": {"content": text}}]}))
                time.sleep(TOKEN_S)
            self._event("[DONE]")
            self.wfile.write(b"0\r\n\r\n")

        def _event(self, data: str) -> None:
            event = f"data: {data}\n\n".encode()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.flush()

        def log_message(self, *_: object) -> None:
            """Say nothing: the story is told elsewhere."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


@dataclass
class _Meter:
    """What the buyer's client says while the stream runs, shown as it comes."""

    silent: bool
    decimals: int
    text: str = ""
    tokens: int = 0
    vouchers: int = 0
    authorized_units: int = 0
    opened: Opened | None = None
    receipt: Metered | None = None
    _live: Live | None = field(default=None, repr=False)

    def hear(self, event: Event) -> None:
        """An event of the client."""
        if isinstance(event, Opened):
            self.opened = event
        elif isinstance(event, Authorized):
            self.vouchers += 1
            self.authorized_units = event.total_units
        elif isinstance(event, Metered):
            self.receipt = event
        self.show()

    def token(self, text: str) -> None:
        """A token came."""
        self.text += text
        self.tokens += 1
        self.show()

    def show(self) -> None:
        """The text so far, and what it costs."""
        if self._live is not None:
            most = to_text(self.authorized_units, self.decimals)
            cost = f"{self.tokens} tokens, {self.vouchers} vouchers, {most} at most"
            self._live.update(Text.assemble(("   " + self.text + "\n", ""), ("   " + cost, "bold green")))

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Live on a terminal, at the end elsewhere."""
        out = console()
        if self.silent or not out.is_terminal:
            yield
            if not self.silent:
                out.print(f"   {self.text}")
            return
        with Live(console=Console(highlight=False), refresh_per_second=12) as self._live:  # wraps lines
            yield
        self._live = None


def _stream(paid: Session, url: str, meter: _Meter) -> None:
    with meter.shown(), paid.stream("POST", url + PATH, json=QUESTION) as answer:
        if answer.status_code != httpx.codes.OK:
            raise DemoFailed(f"the paid stream answered {answer.status_code}")
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                meter.token(json.loads(line.removeprefix("data: "))["choices"][0]["delta"]["content"])


def _told_stream(story: Story, paid: Session, meter: _Meter) -> Held:
    story.expect("what the model said", ANSWER, meter.text)
    if meter.opened is None or meter.receipt is None:
        raise DemoFailed("no channel was opened, or the stream ended without a receipt")
    (held,) = paid.channels
    story.say("")
    story.say(f"channel       {held.channel_id}")
    story.say(f"deposit       {paid.deposit}   (one transaction: {meter.opened.reference})")
    story.say(f"spent         {paid.spent} for {meter.receipt.units} tokens, by {meter.vouchers} signed vouchers")
    story.say("              which cost no fee, and no block was waited for")
    story.expect("how many tokens the receipt counts", len(ANSWER.split()), meter.receipt.units)
    story.facts |= {
        "channel": held.channel_id,
        "tokens": meter.tokens,
        "vouchers": meter.vouchers,
        "deposit_units": str(held.deposit_units),
        "spent_units": str(held.spent_units),
    }
    return held


def _closed(story: Story, scene: Scene, url: str, paid: Session, held: Held, settings: dict[str, str]) -> None:
    paid.close(url + PATH)
    purse = wallet(**{scene.method: settings})
    with closing(RealWorld()) as world:
        (payer,) = run(purse.session_payers(), world)
        state = run(payer.look(held), world)
    story.expect("whether the chain has closed the channel", True, state.closed)
    story.expect("what the chain paid out", held.spent_units, state.settled_units)
    back = held.deposit_units - state.settled_units
    decimals = scene.owns(scene.chain.accounts[SELLER]).asset.decimals or 0
    story.say(f"the seller's voucher was handed in: {to_text(state.settled_units, decimals)} paid out")
    story.say(f"back to the buyer: {to_text(back, decimals)} of {to_text(held.deposit_units, decimals)}")
    story.facts |= {"seller_received_units": str(state.settled_units), "refunded_units": str(back)}


def _balances(story: Story, scene: Scene, before: tuple[int, int]) -> None:
    after = _owned(scene)
    asset = scene.owns(scene.chain.accounts[SELLER]).asset
    earned, spent = int(story.facts["seller_received_units"]), int(story.facts["spent_units"])
    changes: dict[str, str] = {}
    for who, then, now, due in zip(("buyer", "seller"), before, after, (-spent, earned), strict=True):
        change = now - then
        changes[who] = str(change)
        text = to_text(abs(change), asset.decimals or 0)
        fee = to_text(due - change, asset.decimals or 0)
        story.say(f"  {who:<8} {'+' if change > 0 else '-'}{text} {asset.symbol}   (network fees: {fee})")
        if due - change < 0:
            raise DemoFailed(f"the {who} ended with more than the stream accounts for")
    story.facts["changes_units"] = changes


def _owned(scene: Scene) -> tuple[int, int]:
    accounts = scene.chain.accounts
    return scene.owns(accounts[BUYER]).amount_units, scene.owns(accounts[SELLER]).amount_units


def tell(story: Story, chain_name: str) -> None:
    """The whole story. Raises DemoFailed where it is not as it should be."""
    story.chapter(f"A local {chain_name.capitalize()} chain with payment channels, and accounts that hold test dollars")
    with (
        tempfile.TemporaryDirectory(prefix="coinslot-demo-") as folder,
        closing(find_devnet(chain_name).start()) as chain,
        _model() as model,
    ):
        scene = Scene(chain, chain_name, next(iter(chain.tokens.values())))
        buyer, seller = chain.accounts[BUYER], chain.accounts[SELLER]
        before = _owned(scene)
        story.say(f"RPC {chain.rpc_url}, {facts_text(chain)}; buyer {buyer.address}, seller {seller.address}")

        story.chapter("A coin slot in front of a language model, which knows nothing of payments")
        priced = f"POST {PATH}={PRICE}/token"
        arguments = ["--upstream", model, "--price", priced, "--window", str(WINDOW), "--deposit", DEPOSIT]
        arguments += ["--recipient", seller.address, *node_flags(chain, chain_name)]
        arguments += ["--realm", "demo.example", "--listen", "127.0.0.1:0"]
        arguments += ["--store", f"sqlite:///{Path(folder, 'demo.sqlite')}"]
        story.say(f"$ coinslot gate --upstream {model} --price '{priced}' --recipient {seller.address[:10]}...")
        with running_gate(arguments, folder, {"COINSLOT_SESSION_KEY": seller.private_key}) as url:
            story.say(f"charging at {url}")

            story.chapter("A question without money")
            shown_challenge(story, httpx.post(url + PATH, json=QUESTION))

            story.chapter(f"The same question from a program with a purse (limit: {DEPOSIT} in the channel)")
            meter = _Meter(story.silent, scene.owns(seller).asset.decimals or 0)
            settings = {**chain.settings, "rpc_url": chain.rpc_url, "private_key": buyer.private_key}
            policy = Policy(max_deposit=DEPOSIT, max_window=WINDOW)
            with (
                closing(SqliteBook(Path(folder, "channels.sqlite"))) as book,
                pay(httpx.Client(timeout=30), wallet(**{chain_name: settings}), policy, meter.hear, book) as client,
            ):
                paid = session_of(client, url + PATH, max_deposit=DEPOSIT)
                _stream(paid, url, meter)
                held = _told_stream(story, paid, meter)

                story.chapter("Closing the channel: the rest comes back")
                _closed(story, scene, url, paid, held, settings)

            story.chapter("What the chain says")
            _balances(story, scene, before)
