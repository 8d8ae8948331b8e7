"""Who may speak for a channel: its signer by a voucher, its payer by the proof that was bound to it when it was opened.

Everything that is compared with comes from our own record of the channel, never from a request (SSES "Voucher
Verification" 2 to 4 and 9, "Session Bearer Proof").
"""

from __future__ import annotations

import hmac

from coinslot.errors import InvalidVoucher, SignerMismatch, VerificationFailed
from coinslot.intents.session import Channel
from coinslot.methods.solana.session.bearer import Authentication
from coinslot.methods.solana.session.payload import OpenPayload
from coinslot.methods.solana.session.record import Recorded, proof_hash
from coinslot.methods.solana.session.voucher import SignedVoucher


def verify_voucher(
    voucher: SignedVoucher, recorded: Recorded, channel: Channel, needed_s: float, skew_s: float
) -> None:
    """That the channel's signer signed this voucher, and that it is good until `needed_s`, as clocks go.

    Raises InvalidVoucher, SignerMismatch, VerificationFailed.
    """
    if recorded.operator:  # SSES-122
        raise VerificationFailed("the server signs the vouchers of this channel; it takes none")
    if voucher.channel_id != channel.id:  # T08
        raise InvalidVoucher("the voucher is of another channel", channel_id=channel.id)
    if voucher.has_expired(needed_s, skew_s):  # SSES-155
        raise InvalidVoucher("the voucher expires before it could be settled", channel_id=channel.id)
    voucher.verify(channel.signer)  # T13 T15


def verify_proof(shown: Authentication | None, recorded: Recorded, channel: Channel) -> None:
    """That this is the proof that was bound to the channel when it was opened (SSES-093 SSES-095 SSES-215).

    Raises InvalidVoucher, SignerMismatch.
    """
    if shown is None or not recorded.operator or recorded.challenge_id is None or recorded.proof is None:
        raise SignerMismatch("no proof is bound to this channel", channel_id=channel.id)
    if not hmac.compare_digest(proof_hash(shown.signature), recorded.proof):  # T38
        raise InvalidVoucher("not the proof that is bound to this channel", channel_id=channel.id)
    shown.verify(channel.id, channel.payer, recorded.challenge_id)  # T13 T15


def verify_opened(shown: OpenPayload, recorded: Recorded, channel: Channel) -> None:
    """That an opening which is told again is of this channel, and by whom it was. Raises as `verify_proof`."""
    seeds = recorded.seeds
    if (shown.payer, shown.payee, shown.authorized_signer) != (seeds.payer, seeds.payee, seeds.authorized_signer):
        raise SignerMismatch("the channel is between others", channel_id=channel.id)
    if recorded.operator:
        verify_proof(shown.authentication, recorded, channel)
