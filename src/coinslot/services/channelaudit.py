"""Do the records of payment channels tell the truth? Against the journal, and against the chain where it can be asked.

Reading a store in use gives no false findings: a channel that looks wrong is read again after the chain was asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from coinslot.drive import Flow, now, wait
from coinslot.errors import CoinslotError, RpcUnreachable
from coinslot.intents.acts import OnChain
from coinslot.intents.session import Channel, Stage
from coinslot.ledger import escrow_account
from coinslot.method import SessionSeller
from coinslot.server.sessions import LOOKS_PER_GRACE
from coinslot.store.channels import ChannelQuery, JobStage, SessionStore

PAGE = 100
# A settler asks the chain every few seconds; nothing stays unknown for ten minutes while one runs.
STUCK_S = 600.0
_ALIVE = frozenset({Stage.OPENING, Stage.OPEN, Stage.CLOSING})


@dataclass(slots=True)
class ChannelReport:
    """What was seen: how many channels that are not closed, what was bought on them and not paid out (base units per
    asset key), how long ago each network was watched (seconds, None: never), how many open channels to a
    recipient the store doesn't know, and what is wrong, as (check, subject, text)."""

    alive: int = 0
    unsettled: Counter[str] = field(default_factory=Counter)
    watched_ago_s: dict[str, float | None] = field(default_factory=dict)
    frozen: list[str] = field(default_factory=list)
    strangers: Counter[str] = field(default_factory=Counter)
    findings: list[tuple[str, str, str]] = field(default_factory=list)


def audit_channels(store: SessionStore, sellers: Sequence[SessionSeller]) -> Flow[ChannelReport]:
    """Look at all channels; ask the chain about those that these sellers serve. Raises StoreError, RpcUnreachable."""
    report = ChannelReport()
    used: set[str] = set()
    after: str | None = None
    while True:
        page = yield from wait(store.list_channels(ChannelQuery(_ALIVE, after=after, limit=PAGE)))
        for channel in page:
            report.alive += 1
            report.unsettled[channel.asset] += channel.unsettled
            used.add(channel.network)
        for seller in sellers:
            yield from _against_chain(
                store, seller, [one for one in page if seller.serves(one) and one.stage is not Stage.OPENING], report
            )
        if len(page) < PAGE:
            break
        after = page[-1].key
    yield from _watched(store, sellers, used, report)
    for seller in sellers:
        yield from _strangers(store, seller, report)
    yield from _stuck(store, report)
    yield from _against_journal(store, report)
    return report


def _watched(
    store: SessionStore, sellers: Sequence[SessionSeller], used: set[str], report: ChannelReport
) -> Flow[None]:
    for network in sorted({one.network for one in sellers} | used):
        ago_s = yield from wait(store.watched_ago_s(network))
        report.watched_ago_s[network] = ago_s
        graces = [one.grace_s for one in sellers if one.network == network]
        late = bool(graces) and (ago_s is None or ago_s > min(graces) / LOOKS_PER_GRACE)
        if network in used and late:  # F26
            since = "ever" if ago_s is None else f"for {ago_s:.0f} s"
            text = f"nobody has looked at its channels {since}; sessions are refused: run a gate or coinslot settler"
            report.findings.append(("watcher", network, text))


def _strangers(store: SessionStore, seller: SessionSeller, report: ChannelReport) -> Flow[None]:
    """Open channels to this recipient that are not on record here. Nothing in a channel names a service: if another one
    sells from them by a store of its own, a voucher buys at both. T02
    """
    try:
        keys = yield from seller.open_keys()
    except RpcUnreachable:
        raise
    except CoinslotError as error:
        report.findings.append(("chain", seller.network, f"the chain could not be asked for channels: {error}"))
        return
    for key in keys or ():
        if (yield from wait(store.find_channel(key))) is None:
            report.strangers[seller.network] += 1


def _stuck(store: SessionStore, report: ChannelReport) -> Flow[None]:
    at_s = yield from now()
    for job in (yield from wait(store.pending_jobs(PAGE))):
        if job.stage is JobStage.PREPARED and at_s - job.made_at_s > STUCK_S:
            text = f"a {job.kind} was sent as {job.reference} long ago; its outcome is not known"
            report.findings.append(("store", job.key, text))


def _against_chain(
    store: SessionStore, seller: SessionSeller, channels: Sequence[Channel], report: ChannelReport
) -> Flow[None]:
    if not channels:
        return
    try:
        states = yield from seller.look(channels)
    except RpcUnreachable:
        raise
    except CoinslotError as error:
        report.findings.append(("chain", seller.network, f"the chain could not be asked about channels: {error}"))
        return
    for old, state in zip(channels, states, strict=True):
        if _contradiction(old, state) is not None:
            channel = yield from wait(store.find_channel(old.key))
            wrong = None if channel is None else _contradiction(channel, state)
            if wrong is not None:
                report.findings.append(("chain", old.key, wrong))
                if state.settled_units > old.accepted:
                    report.frozen.append(old.key)


def _contradiction(channel: Channel, state: OnChain) -> str | None:
    """What can't both be true for long."""
    if channel.stage is Stage.CLOSED:
        return None
    if state.settled_units > channel.accepted:  # F27
        return (
            f"frozen: the chain paid out {state.settled_units}, and the highest voucher on record says"
            f" {channel.accepted}: is this an old backup?"
        )
    if channel.stage is not Stage.OPEN:
        return None
    if not state.exists or state.closed:
        return "open on record; the chain does not show it open"
    if state.closing_at_s is not None:  # T27
        return "open on record; its payer has asked the chain to close it"
    return None


def _against_journal(store: SessionStore, report: ChannelReport) -> Flow[None]:
    """What the journal says that channels hold, which must be what their records say."""
    suspects = yield from _off(store, None)
    if suspects:  # between reading the journal and the records something may have been posted: once more
        suspects = yield from _off(store, set(suspects))
    for key, (held, due) in suspects.items():
        report.findings.append(("ledger", key, f"the journal holds {held} base units in escrow instead of {due}"))


def _off(store: SessionStore, only: set[str] | None) -> Flow[dict[str, tuple[int, int]]]:
    balances = yield from wait(store.balances())
    found: dict[str, tuple[int, int]] = {}
    after: str | None = None
    while True:
        page = yield from wait(store.list_channels(ChannelQuery(after=after, limit=PAGE)))
        for channel in page:
            held = balances.get(channel.asset, {}).get(escrow_account(channel.key), 0)
            if only is not None and channel.key not in only:
                continue
            due = 0 if channel.stage in {Stage.CLOSED, Stage.OPENING} else channel.deposit - channel.settled
            if held != due:
                found[channel.key] = (held, due)
        if len(page) < PAGE:
            return found
        after = page[-1].key
