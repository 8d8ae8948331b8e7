"""Whether a channel may be suggested to go on with: as the chain has it, not only as we wrote it down (SSES "Resume").

A challenge that names a channel says that it can be used. So before one is issued the channel's account is looked at:
its owner and shape, that it is open, and that it is between the parties, in the token, for the signer and with the
splits that the challenge says. A client that runs dry asks often; what was seen is good for some seconds.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from coinslot.chains.solana.rpc import Commitment, account
from coinslot.drive import Flow, now
from coinslot.errors import BadTransaction
from coinslot.methods.solana.session.channel import Status, read_channel
from coinslot.methods.solana.session.distribution import distribution_hash
from coinslot.methods.solana.session.terms import SessionTerms

KEEP_S = 5.0
# Then all are forgotten and looked at anew. F28
REMEMBERED = 10_000


@dataclass(slots=True)
class Resumable:
    """Channels that were seen open a moment ago. Safe for threads and tasks: two may look at once."""

    rpc_url: str = field(repr=False)
    commitment: Commitment = "confirmed"
    _seen: dict[str, float] = field(default_factory=dict, init=False, repr=False)

    def is_open(self, terms: SessionTerms) -> Flow[bool]:
        """Whether the channel that these terms name is open under them. Raises ChainError. SSES-212 SSES-213"""
        channel_id, at_s = terms.channel_id or "", (yield from now())
        if 0 <= at_s - self._seen.get(channel_id, float("-inf")) < KEEP_S:
            return True
        found = yield from account(self.rpc_url, channel_id, commitment=self.commitment)
        if found is None:
            return False
        try:
            state = read_channel(terms.program, found)  # T07: owner, discriminator, version, address
        except BadTransaction:
            return False
        fits = (
            state.status is Status.OPEN  # T27
            and (state.seeds.payee, state.seeds.mint) == (terms.recipient, terms.mint)
            and terms.operator in (None, state.seeds.authorized_signer)
            and state.distribution_hash == distribution_hash(terms.splits)
        )
        if fits:
            if len(self._seen) >= REMEMBERED:
                self._seen.clear()
            self._seen[channel_id] = at_s
        return fits
