"""Asking an upstream to say what a stream used: APIs of the common kind for language models tell it only then.

A request's JSON with `"stream": true` gets `"stream_options": {"include_usage": true}` before it goes upstream; all
other members keep their bytes, and every other request stays as it is. Without it a stream that doesn't say what it
used costs all that was set aside, to clients that forgot to ask.
"""

from __future__ import annotations

from collections import deque

import msgspec

from coinslot.transports.asgi import App, Message, Receive, Scope, Send

# As much as is held of a body that is bound to its payment; what is longer goes upstream as it is.
MAX_ASKED_BODY = 1024 * 1024
_OPTIONS, _ASKED = "stream_options", msgspec.Raw(b"true")
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])


class UsageAsked:
    """Stands before an upstream on routes that are charged by what their answers say."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if not _is_json(scope):
            await self._app(scope, receive, send)
            return
        came = await _beginning(receive)
        asked = asking_for_usage(b"".join(one.get("body", b"") for one in came)) if _is_whole(came[-1]) else None
        if asked is not None:
            came = deque([{"type": "http.request", "body": asked, "more_body": False}])
            scope = {**scope, "headers": _of_length(scope, len(asked))}

        async def again() -> Message:
            return came.popleft() if came else await receive()

        await self._app(scope, again, send)


async def _beginning(receive: Receive) -> deque[Message]:
    """What the client sends, to its end or to more than is read."""
    came, size = deque[Message](), 0
    while size <= MAX_ASKED_BODY:
        message = await receive()
        came.append(message)
        size += len(message.get("body", b""))
        if _is_whole(message) or message["type"] != "http.request":  # its client went away
            break
    return came


def _is_whole(message: Message) -> bool:
    """Whether the body ends with this."""
    return message["type"] == "http.request" and not message.get("more_body", False)


def _is_json(scope: Scope) -> bool:
    kinds = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
    return len(kinds) == 1 and kinds[0].partition(b";")[0].strip().lower() == b"application/json"


def _of_length(scope: Scope, length: int) -> list[tuple[bytes, bytes]]:
    dropped = (b"content-length", b"transfer-encoding")
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in dropped]
    return [*kept, (b"content-length", b"%d" % length)]


def asking_for_usage(body: bytes) -> bytes | None:
    """The same request, asking for its usage; None where it is no stream, or can't be read: then it stays as it is."""
    try:
        members = _members.decode(body)
        if bytes(members.get("stream", b"")) != b"true":
            return None
        options = _members.decode(members[_OPTIONS]) if bytes(members.get(_OPTIONS, b"null")) != b"null" else {}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return msgspec.json.encode({**members, _OPTIONS: {**options, "include_usage": _ASKED}})
