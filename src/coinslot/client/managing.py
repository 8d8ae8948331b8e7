"""Requests about a channel that ask for no content: to open it, top it up, raise its voucher, close it, ask anew.

They go to the same URL, by HEAD; a server that knows no HEAD there, or refuses without a word, is asked by POST
without a body. Any 2xx is success,
with a body or without, with a receipt or without.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.client.outcome import pause_after, refusal
from coinslot.client.presenting import (
    MAX_PRESENTATIONS,
    MAX_PROBLEM_BYTES,
    MAX_WAIT_S,
    PAYMENT_REQUIRED,
    Answer,
    Ask,
    offers,
)
from coinslot.client.terms import still
from coinslot.client.visit import Visit
from coinslot.core.challenge import Challenge
from coinslot.core.instant import parse_instant
from coinslot.core.receipt import decode_receipt
from coinslot.drive import Flow, call, failpoint, now, send, sleep
from coinslot.errors import MalformedHeader, PaymentRefused
from coinslot.intents.acts import Balance, Held
from coinslot.method import SessionPayer

VERBS = ("HEAD", "POST")
# Answers to a HTTP method that is not served there.
NO_SUCH_VERB = frozenset({404, 405, 501})
# What a server says of a challenge that it doesn't know any more; the same voucher goes under a fresh one.
STALE = frozenset(
    {
        "session/challenge-not-found",
        "challenge-not-found",
        "payment-expired",
        "invalid-challenge",
        "challenge_expired",  # so deployed servers say it
    }
)


@dataclass(frozen=True)
class Said:
    """An answer about a channel. `fields` are its headers of interest, `fresh` a challenge under the same terms."""

    status: int
    balance: Balance | None = None
    fresh: Challenge | None = None
    problem: str | None = None
    detail: str = ""
    fields: dict[str, str] = field(default_factory=dict, repr=False)
    challenges: tuple[Challenge, ...] = ()

    @property
    def good(self) -> bool:
        """Whether it was done. Any 2xx is."""
        return 200 <= self.status < 300

    @property
    def stale(self) -> bool:
        """Whether the same may do under the fresh challenge; an answer to HEAD has no body to say why."""
        return self.fresh is not None and (self.problem is None or self.problem in STALE)


def said_of(visit: Visit, answer: Answer, credential: str, held: Held | None) -> Flow[Said]:
    """What an answer says, its body read and closed."""
    body: bytes = yield from call(answer.read, MAX_PROBLEM_BYTES)
    return say(visit, answer, credential, held, body)


def say(visit: Visit, answer: Answer, credential: str, held: Held | None, body: bytes) -> Said:
    """What an answer with this body says."""
    problem, detail = (None, "") if answer.status < 400 else refusal(body, credential)
    challenges = tuple(offers(answer)[0])
    fresh = still(visit.payer, visit.terms, list(challenges), held) if answer.status == PAYMENT_REQUIRED else None
    fields = {name: values[0] for name in HINTS if (values := answer.fields(name))}
    return Said(answer.status, balance_in(visit.payer, answer), fresh, problem, detail, fields, challenges)


# The headers that tell of channels (TSES "Session Snapshot").
HINTS = ("payment-session", "payment-session-snapshot")


def balance_in(payer: SessionPayer, answer: Answer) -> Balance | None:
    """What an answer's receipt says of a channel; None if there is none that can be read."""
    values = answer.fields("payment-receipt")
    try:
        return payer.balance(decode_receipt(values[0])) if values else None
    except MalformedHeader:
        return None


def ask_about(visit: Visit, header: tuple[str, str] | None, held: Held | None) -> Flow[Said]:
    """Ask, or present a credential, without asking for content; the same one again while it says "come back"."""
    headers = () if header is None else (header,)
    said = Said(0)
    for verb in VERBS:
        waited_s = 0.0
        for _ in range(MAX_PRESENTATIONS):
            answer: Answer = yield from send(Ask(headers, b"", paid=header is not None, verb=verb))
            failpoint("client.managed")
            pause_s = pause_after(answer.status, answer.fields("retry-after"), (yield from now()))
            said = yield from said_of(visit, answer, header[1] if header else "", held)
            waited_s += pause_s or 0.0
            if pause_s is None or header is None or waited_s > MAX_WAIT_S:
                break
            yield from sleep(pause_s)
        if said.status not in NO_SUCH_VERB and (header is None or not _needs_words(visit, said)):
            return said
    return said


def _needs_words(visit: Visit, said: Said) -> bool:
    """Whether a refusal says no reason, as answers to HEAD don't, and a POST would not be the caller's own request."""
    return said.status >= 400 and said.problem is None and visit.verb != "POST"


def refresh(visit: Visit, fresh: Challenge, *, plain: bool = False) -> None:
    """Go on under a fresh challenge of the same terms. `plain`: it answers no credential, so it is about no channel."""
    visit.challenge, visit.remembered = fresh, not plain
    try:
        visit.expires_at_s = parse_instant(fresh.expires or "")
    except MalformedHeader:
        visit.expires_at_s = 0.0


def ensure_challenge(visit: Visit, held: Held | None, *, anew: bool = False) -> Flow[None]:
    """Take a fresh challenge where the one we have is past its time, or (`anew`) may say what the chain has forgotten.

    Raises PaymentRefused. T10
    """
    if not anew and (yield from now()) < visit.expires_at_s:
        return
    said = yield from ask_about(visit, None, held)
    if said.fresh is None and visit.verb == "GET":  # where HEAD is for proving an account only
        answer: Answer = yield from send(Ask((), b"", verb="GET"))
        said = yield from said_of(visit, answer, "", held)
    if said.fresh is None:
        raise PaymentRefused(
            f"{visit.origin} offers no fresh challenge under the same terms (HTTP {said.status}). Nothing was signed.",
            status=said.status,
        )
    refresh(visit, said.fresh, plain=True)
