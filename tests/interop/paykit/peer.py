"""The Solana peer as a long-running process: one JSON object a line in, one a line out, by {id, op, args}.

Its client pays charges by its own transport; of sessions it has the builders only, so the requests around them are made
here. Its server is asked by an ASGI application, as its documentation has it. Runs under its own interpreter; it
imports nothing of coinslot.
"""

from __future__ import annotations

import asyncio
import base64
import json
import socket
import sys
import uuid
from dataclasses import dataclass
from typing import Any

import httpx
import uvicorn
from solana.rpc.async_api import AsyncClient  # type: ignore[import-not-found]
from solana_pay_kit._paycore import paymentchannels as channels  # type: ignore[import-not-found]  # of its own place
from solana_pay_kit._paycore.rpc import SolanaRpc  # type: ignore[import-not-found]
from solana_pay_kit._paycore.store import MemoryStore  # type: ignore[import-not-found]
from solana_pay_kit._paycore.transaction import (  # type: ignore[import-not-found]
    build_partially_signed_v0_transaction,
)
from solana_pay_kit.client.client import PayKitClient  # type: ignore[import-not-found]
from solana_pay_kit.protocols.mpp.client import (  # type: ignore[import-not-found]
    HttpCommitTransport,
    MeteredSseStream,
    PaymentTransport,
    SessionConsumer,
    serialize_session_credential,
)
from solana_pay_kit.protocols.mpp.client import payment_channels as opening
from solana_pay_kit.protocols.mpp.core.headers import (  # type: ignore[import-not-found]
    format_receipt,
    parse_receipt,
    parse_www_authenticate_all,
)
from solana_pay_kit.protocols.mpp.intents.session import (  # type: ignore[import-not-found]
    MeteringUsage,
    SessionAction,
    SessionRequest,
    VoucherPayload,
    sign_session_authentication,
)
from solana_pay_kit.protocols.mpp.server import session_method as selling  # type: ignore[import-not-found]
from solana_pay_kit.protocols.mpp.server.charge import Config, Mpp  # type: ignore[import-not-found]
from solana_pay_kit.protocols.mpp.server.middleware import pay as paid  # type: ignore[import-not-found]
from solana_pay_kit.protocols.mpp.server.session import DeliveryRequest, Split  # type: ignore[import-not-found]
from solana_pay_kit.protocols.mpp.server.session_routes import session_routes  # type: ignore[import-not-found]
from solana_pay_kit.protocols.mpp.server.session_stream import (  # type: ignore[import-not-found]
    new_metered_stream_writer,
)
from solana_pay_kit.signer import LocalSigner  # type: ignore[import-not-found]
from solders.keypair import Keypair
from solders.pubkey import Pubkey

_key = Pubkey.from_string


def keypair(seed: str) -> Keypair:
    """From 64 hex digits."""
    return Keypair.from_seed(bytes.fromhex(seed))


def told(response: httpx.Response) -> dict[str, Any]:
    """What came back."""
    receipt = response.headers.get("payment-receipt")
    return {
        "status": response.status_code,
        "headers": dict(response.headers),
        "body": response.text,
        "receipt": None if receipt is None else vars(parse_receipt(receipt)),
    }


# --- its client pays charges ---------------------------------------------------------------------


async def pay(args: dict[str, Any]) -> dict[str, Any]:
    """One request by its paying client; `plain`: by its transport that takes the first offer, whatever it is."""
    rpc = AsyncClient(args["rpc_url"])
    builder = PayKitClient.builder().signer(LocalSigner.from_keypair(keypair(args["key"]))).rpc(rpc)
    async with rpc:
        if args.get("plain"):
            built = httpx.AsyncClient(transport=PaymentTransport(keypair(args["key"]), rpc), timeout=30)
        else:
            built = builder.network("localnet").permissions(False).accept(["mpp"]).httpx_options(timeout=30).build()
        async with built as client:
            body = args.get("body")
            response = await client.request(
                args.get("method", "GET"),
                args["url"],
                headers=args.get("headers", {}),
                content=None if body is None else body.encode(),
            )
    return told(response)


# --- its client has sessions ---------------------------------------------------------------------


class Session:
    """One channel of its client, under the challenge of its opening."""

    def __init__(self, args: dict[str, Any], challenge: Any, request: Any, made: Any, proof: Any) -> None:
        self.args, self.challenge, self.request, self.made, self.proof = args, challenge, request, made, proof
        self.last: Any = None  # voucher


_sessions: dict[str, Session] = {}


async def asked(http: httpx.AsyncClient, url: str) -> tuple[Any, Any]:
    """The session that a 402 offers, read by this peer."""
    response = await http.get(url)
    found = parse_www_authenticate_all(response.headers.get_list("www-authenticate"))
    challenge = next(one for one in found if (one.method, one.intent) == ("solana", "session"))
    return challenge, SessionRequest.from_dict(challenge.decode_request())


async def present(session: Session, action: Any, challenge: Any = None, **headers: str) -> dict[str, Any]:
    """An action of a session, sent."""
    credential = serialize_session_credential(challenge or session.challenge, action)
    async with httpx.AsyncClient(timeout=30) as http:
        return told(await http.get(session.args["url"], headers={"authorization": credential, **headers}))


async def session_open(args: dict[str, Any]) -> dict[str, Any]:
    """Open a channel as a 402 asks: `deposit`, `idle`, and what a test changes."""
    payer = keypair(args["key"])
    async with httpx.AsyncClient(timeout=30) as http:
        challenge, request = await asked(http, args["url"])
    options = opening.PaymentChannelSessionOpenOptions(
        open=opening.PaymentChannelOpenOptions(deposit=args.get("deposit")), idle_timeout_seconds=args.get("idle")
    )
    proof = None
    if request.method_details.voucher_signer == "operator":
        options.open.salt = opening.unique_salt()
        signer = _key(request.method_details.operator)
        channel = opening.derive_payment_channel_open(request, payer.pubkey(), signer, options.open).channel_id
        proof = options.authentication = sign_session_authentication(challenge.id, str(channel), payer)
    voucher_key = keypair(args["delegate"]) if "delegate" in args else payer
    made = opening.create_payment_channel_session_opener(request, payer, voucher_key, options=options)
    session = Session(args, challenge, request, made, proof)
    _sessions[str(made.open.channel_id)] = session
    return {"channel": str(made.open.channel_id), **await present(session, made.action)}


async def session_pay(args: dict[str, Any]) -> dict[str, Any]:
    """One purchase: a voucher of so much more (the one before once more, `again`), or the proof of who pays."""
    session = _sessions[args["channel"]]
    headers = {"idempotency-key": args.get("idempotency_key") or uuid.uuid4().hex}
    if session.proof is not None:
        return await present(session, session.made.session.use_action(session.proof), **headers)
    if not args.get("again"):
        session.last = session.made.session.sign_increment(args["amount"])
    voucher = VoucherPayload(channel_id=args["channel"], voucher=session.last)
    return await present(session, SessionAction.voucher_action(voucher), **headers)


async def session_stream(args: dict[str, Any]) -> dict[str, Any]:
    """A stream, bought in advance by a voucher of so much more or a proof, as its reader of metered streams has it."""
    session = _sessions[args["channel"]]
    mine = session.made.session
    action = mine.use_action(session.proof) if session.proof else mine.voucher_action(args["amount"])
    headers = {
        "authorization": serialize_session_credential(session.challenge, action),
        "accept": "text/event-stream",
        "idempotency-key": uuid.uuid4().hex,
    }
    async with httpx.AsyncClient(timeout=30) as http, http.stream("GET", args["url"], headers=headers) as response:
        chunks = [chunk async for chunk in response.aiter_bytes()]
    stream = MeteredSseStream(SessionConsumer(mine, None), chunks)
    messages = list(stream)
    try:
        stream.ack()
    except ValueError as error:
        return {"status": response.status_code, "messages": messages, "refused": str(error)}
    return {"status": response.status_code, "messages": messages, "refused": ""}


async def session_metered(args: dict[str, Any]) -> dict[str, Any]:
    """A stream that is paid after it came, by its consumer of metered streams; `acks`: how often it commits.

    `amount` more is signed for asking, `plain`: it commits without saying who it is.
    """
    session = _sessions[args["channel"]]
    mine = session.made.session
    credential = serialize_session_credential(session.challenge, mine.voucher_action(args["amount"]))
    headers = {"authorization": credential, "accept": "text/event-stream", "idempotency-key": uuid.uuid4().hex}

    def read() -> dict[str, Any]:
        with httpx.Client(timeout=30) as http:
            with http.stream("GET", args["url"], headers=headers) as response:
                chunks = list(response.iter_bytes())
            if response.status_code != 200:
                return {"status": response.status_code, "body": b"".join(chunks).decode()}
            said = None if args.get("plain") else credential
            there = HttpCommitTransport(http, args["commit_url"], authorization=said)
            stream = MeteredSseStream(SessionConsumer(mine, there), chunks)
            messages, receipts, refused = list(stream), [], ""
            try:
                receipts = [vars(stream.ack()) for _ in range(args.get("acks", 1))]
            except ValueError as error:
                refused = str(error)
        return {
            "status": 200,
            "messages": messages,
            "receipts": receipts,
            "refused": refused,
            "cumulative": mine.cumulative,
            "raw": b"".join(chunks).decode(),
        }

    return await asyncio.to_thread(read)


async def session_reserve(args: dict[str, Any]) -> dict[str, Any]:
    """A delivery reserved at its endpoint, with the credential of a voucher for so much more; `plain`: with none."""
    session = _sessions[args["channel"]]
    mine = session.made.session
    signed = mine.prepare_increment(args.get("more", 1))
    action = SessionAction.voucher_action(VoucherPayload(channel_id=args["channel"], voucher=signed))
    headers = {} if args.get("plain") else {"authorization": serialize_session_credential(session.challenge, action)}
    async with httpx.AsyncClient(timeout=30) as http:
        return told(await http.post(args["url"], json=args["body"], headers=headers))


async def session_top_up(args: dict[str, Any]) -> dict[str, Any]:
    """More deposit. It has the instruction only, so the transaction around it is put together here."""
    session, payer = _sessions[args["channel"]], keypair(_sessions[args["channel"]].args["key"])
    made, details = session.made.open, session.request.method_details
    instruction = channels.build_top_up_instruction(
        channels.TopUpParams(
            channel=made.channel_id,
            payer=payer.pubkey(),
            mint=made.mint,
            token_program=made.token_program,
            program_id=made.program_id,
            amount=args["amount"],
        )
    )
    async with AsyncClient(session.args["rpc_url"]) as rpc:
        recent = (await rpc.get_latest_blockhash()).value.blockhash
    fees = _key(details.fee_payer_key) if args.get("sponsored", details.fee_payer) else payer.pubkey()
    raw = build_partially_signed_v0_transaction(
        [instruction], fees, recent, payer.pubkey(), lambda message: bytes(payer.sign_message(message))
    )
    action = session.made.session.top_up_action(args["amount"], base64.b64encode(raw).decode())
    return await present(session, action)


async def session_close(args: dict[str, Any]) -> dict[str, Any]:
    """Close, with a last voucher of so much more, the one before once again (`again`), or the proof of who pays."""
    session = _sessions[args["channel"]]
    action = session.made.session.close_action(args.get("amount", 0), authentication=session.proof)
    if args.get("again"):
        action.close.voucher = session.last
    return await present(session, action)


# --- its server ----------------------------------------------------------------------------------

_servers: dict[str, tuple[uvicorn.Server, asyncio.Task[None], dict[str, int], Any]] = {}


class Asked:
    """A request as its decorator wants one."""

    def __init__(self, headers: list[tuple[bytes, bytes]]) -> None:
        self.headers = {name.decode().lower(): value.decode() for name, value in headers}


def charging(args: dict[str, Any], hits: dict[str, int]) -> dict[str, Any]:
    """The priced views of a server, by path."""
    config = dict(args["charge"])
    if "fee_payer" in config:
        config["fee_payer_signer"] = keypair(config.pop("fee_payer"))
    handler = Mpp(
        Config(
            network="localnet",
            rpc_url=args["rpc_url"],
            secret_key=args["secret_key"],
            realm=args["realm"],
            store=MemoryStore(),
            rpc=SolanaRpc(args["rpc_url"]),
            **config,
        )
    )

    def view(path: str, options: dict[str, Any]) -> Any:
        @paid(handler, **options)  # type: ignore[untyped-decorator]
        async def answer(_request: Any, _credential: Any, receipt: Any) -> Any:
            hits[path] = hits.get(path, 0) + 1
            return receipt

        return answer

    return {path: view(path, options) for path, options in args["routes"].items()}


@dataclass
class _Account:
    owner: str
    data: bytes


@dataclass
class _Found:
    value: _Account | None


class SessionRpc(SolanaRpc):  # type: ignore[misc]
    """Its own client of a chain, which its session method asks for accounts as another library would have it."""

    async def get_account_info(self, address: Any, commitment: str = "confirmed") -> Any:
        """What its verifier of openings reads."""
        found = await super().get_account_info(str(address), commitment)
        return _Found(None if found is None else _Account(found[1], found[0]))


def having_sessions(args: dict[str, Any]) -> Any:
    """Its session method."""
    config = dict(args["session"])
    rpc = SessionRpc if config.pop("mended", True) else SolanaRpc
    config["splits"] = [Split(recipient, bps) for recipient, bps in config.pop("splits", [])]
    return selling.new_session(
        selling.SessionOptions(
            network="localnet",
            realm=args["realm"],
            secret_key=args["secret_key"],
            rpc=rpc(args["rpc_url"]),
            signer=LocalSigner.from_keypair(keypair(config.pop("signer"))),
            **config,
        )
    )


class Written(list[bytes]):
    """What its writer of metered streams writes to."""

    def write(self, text: str) -> None:
        """A piece of the stream."""
        self.append(text.encode())


class Metering:
    """Streams that are paid afterwards, and its two endpoints; `told` is what a test changes of what a stream says."""

    def __init__(self, session: Any, told: dict[str, Any]) -> None:
        self.core, self.told, self.commits = session.core(), told, list[dict[str, Any]]()
        self.routes = session_routes(self.core)

    async def stream(self, channel: str) -> bytes:
        """Some words and what they cost, as its writer writes them."""
        told, written = self.told, Written()
        stream = new_metered_stream_writer(written)
        wish = DeliveryRequest(session_id=channel, amount=told["amount"], commit_url=told.get("commit_url", ""))
        directive = await self.core.begin_delivery(wish)
        if "session" in told:
            directive.session_id = told["session"]
        stream.write_metering(directive)
        for number in range(told.get("words", 3)):
            stream.write_json({"word": number})
        if "usage" in told:
            usage = MeteringUsage(told.get("usage_of", directive.delivery_id), str(told["usage"]))
            stream.write_usage(usage)
        if told.get("done", True):
            stream.write_done()
        return b"".join(written)

    async def commit(self, method: str, raw: bytes) -> tuple[int, dict[str, Any]]:
        """Its own answer; `lost`: so many are made and not given, `answer`: members of the receipt that are others."""
        result = await self.routes.commit(method, raw)
        self.commits.append({"sent": raw.decode(), "status": result.status, "body": dict(result.body)})
        if self.told.get("lost", 0) > 0:
            self.told["lost"] -= 1
            return 500, {"error": "lost"}
        return result.status, {**result.body, **self.told.get("answer", {})}


async def metering(args: dict[str, Any]) -> list[dict[str, Any]]:
    """The commits that a server saw; `told` changes what its streams say from now on."""
    found = _metering[args["url"]]
    found.told.update(args.get("told", {}))
    return found.commits


_metering: dict[str, Metering] = {}


async def serve(args: dict[str, Any]) -> dict[str, str]:
    """A server: `charge` settings and `routes` by path with their options, or `session` settings for every path.

    With `metering`, what stands under /stream is paid after it came.
    """
    hits: dict[str, int] = {}
    session = having_sessions(args) if "session" in args else None
    views = charging(args, hits) if "charge" in args else {}
    meter = Metering(session, args["metering"]) if "metering" in args else None

    async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
        sent, more = b"", True
        while more:
            message = await receive()
            sent, more = sent + message.get("body", b""), message.get("more_body", False)
        request, path = Asked(scope["headers"]), scope["path"]
        if meter is not None and path.startswith("/__402/session/"):
            endpoint = meter.routes.deliveries if path.endswith("deliveries") else None
            if endpoint is None:
                status, body = await meter.commit(scope["method"], sent)
            else:
                answered = await endpoint(scope["method"], sent)
                status, body = answered.status, answered.body
            headers = {}
        elif session is not None:
            result = await session.handle(
                request.headers.get("authorization"),
                selling.SessionChallengeOptions(),
                idempotency_key=request.headers.get("idempotency-key", ""),
            )
            hits[path] = hits.get(path, 0) + result.ok
            status, headers, body = result.status, result.headers, result.body or {"path": path}
        else:
            result = await views[path](request)
            if isinstance(result, dict):
                status, headers, body = result["status_code"], result["headers"], result["body"]
            else:
                status, headers, body = 200, {"Payment-Receipt": format_receipt(result)}, {"path": path}
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        content = json.dumps(body).encode()
        if meter is not None and path == "/stream" and scope["method"] == "GET" and status == 200:
            (receipt,) = (value.decode() for name, value in raw if name == b"payment-receipt")
            content = await meter.stream(parse_receipt(receipt).reference)
            raw.append((b"content-type", b"text/event-stream"))
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})

    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", ws="none"))
    url = f"http://127.0.0.1:{bound.getsockname()[1]}"
    task = asyncio.create_task(server.serve(sockets=[bound]))
    while not server.started:
        await asyncio.sleep(0.01)
    _servers[url] = (server, task, hits, session)
    if meter is not None:
        _metering[url] = meter
    return {"url": url}


async def hits(args: dict[str, Any]) -> dict[str, int]:
    """How often each path of a server was delivered."""
    return _servers[args["url"]][2]


async def close(args: dict[str, Any]) -> None:
    """End a server."""
    server, task, _, session = _servers.pop(args["url"])
    if session is not None:
        session.shutdown()
    server.should_exit = True
    await task


OPS = {
    "pay": pay,
    "session.open": session_open,
    "session.pay": session_pay,
    "session.stream": session_stream,
    "session.metered": session_metered,
    "session.reserve": session_reserve,
    "session.topUp": session_top_up,
    "session.close": session_close,
    "serve": serve,
    "hits": hits,
    "metering": metering,
    "close": close,
}


async def answer_line(line: str) -> None:
    """One order, one answer."""
    order = json.loads(line)
    try:
        reply = {"id": order["id"], "value": await OPS[order["op"]](order["args"])}
    except Exception as error:
        cause = f" ({error.__cause__!r})" if error.__cause__ else ""
        reply = {"id": order["id"], "error": f"{type(error).__name__}: {error}{cause}"}
    sys.stdout.write(json.dumps(reply, default=str) + "\n")
    sys.stdout.flush()


async def main() -> None:
    """Until standard input ends."""
    loop = asyncio.get_running_loop()
    running = set()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        task = asyncio.create_task(answer_line(line))
        running.add(task)
        task.add_done_callback(running.discard)


asyncio.run(main())
