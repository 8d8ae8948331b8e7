"""The endpoints of deliveries behind an ASGI door: a body of bounded size, and the answer."""

from __future__ import annotations

from coinslot.drive import run_async
from coinslot.errors import BodyTooLarge
from coinslot.method import sells_sessions
from coinslot.server.answer import Answer, refusal
from coinslot.server.commits import MAX_BODY, PATHS, Commits
from coinslot.server.request import Incoming
from coinslot.transports.asgi_types import Receive, Scope
from coinslot.transports.slot import Slot


class CommitDoor:
    """Takes requests to the two paths, where a seller of the slot delivers before it is paid."""

    def __init__(self, slot: Slot) -> None:
        lenders = [one for one in slot.sellers if sells_sessions(one) and one.credit_units]
        gate = slot.gate
        self._commits = Commits(gate.issuer, slot.store, lenders, gate.observe) if lenders else None
        self._slot = slot

    def takes(self, scope: Scope) -> bool:
        """Whether a request is one of ours. The paths are those of the site, whatever it is mounted under."""
        return self._commits is not None and scope["method"] == "POST" and scope["path"] in PATHS

    async def serve(self, scope: Scope, receive: Receive) -> Answer | None:
        """The answer; None where the client hung up before its request was whole."""
        assert self._commits is not None  # noqa: S101 - takes has looked
        body, more = b"", True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            body, more = body + message.get("body", b""), message.get("more_body", False)
            if len(body) > MAX_BODY:  # T41
                return refusal(BodyTooLarge(f"a commit has at most {MAX_BODY} bytes"))
        headers: dict[str, tuple[str, ...]] = {}
        for name, value in scope["headers"]:
            known = headers.get(name.decode("latin-1"), ())
            headers[name.decode("latin-1")] = (*known, value.decode("latin-1"))
        request = Incoming("POST", scope["path"], "", headers, body)
        return await run_async(self._commits.answer(request), self._slot.async_world)
