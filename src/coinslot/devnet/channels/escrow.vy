# pragma version 0.4.3
# pragma evm-version cancun
"""
An own stand-in, for local chains only, for the escrow of session protocol v1 (TempoStreamChannel).

An independent test implementation of the published interface: not the deployed contract, and no proof of how that
behaves. Payers approve the escrow for their tokens before they open or top up.
"""

struct Channel:
    finalized: bool
    closeRequestedAt: uint64
    payer: address
    payee: address
    token: address
    authorizedSigner: address
    deposit: uint128
    settled: uint128

interface Token:
    def transfer(to: address, amount: uint256) -> bool: nonpayable
    def transferFrom(owner: address, to: address, amount: uint256) -> bool: nonpayable

event ChannelOpened:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    token: address
    authorizedSigner: address
    salt: bytes32
    deposit: uint256

event Settled:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    cumulativeAmount: uint256
    deltaPaid: uint256
    newSettled: uint256

event TopUp:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    additionalDeposit: uint256
    newDeposit: uint256

event CloseRequested:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    closeGraceEnd: uint256

event CloseRequestCancelled:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)

event ChannelClosed:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)
    settledToPayee: uint256
    refundedToPayer: uint256

event ChannelExpired:
    channelId: indexed(bytes32)
    payer: indexed(address)
    payee: indexed(address)

GRACE: constant(uint64) = 900
VOUCHER: constant(bytes32) = keccak256("Voucher(bytes32 channelId,uint128 cumulativeAmount)")
DOMAIN: constant(bytes32) = keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")
NAME: constant(bytes32) = keccak256("Tempo Stream Channel")
VERSION: constant(bytes32) = keccak256("1")
# A signature whose s is above half of the curve's order is a second spelling of another one.
HALF_ORDER: constant(bytes32) = 0x7fffffffffffffffffffffffffffffff5d576e7357a4501ddfe92f46681b20a0
SIGNATURE_BYTES: constant(uint256) = 4096
BATCH: constant(uint256) = 128

kept: HashMap[bytes32, Channel]


@external
def open(payee: address, token: address, deposit: uint128, salt: bytes32, authorizedSigner: address) -> bytes32:
    if payee == empty(address):
        raw_revert(method_id("InvalidPayee()"))
    channel: bytes32 = self._id(msg.sender, payee, token, salt, authorizedSigner)
    if self.kept[channel].payer != empty(address) or self.kept[channel].finalized:
        raw_revert(method_id("ChannelAlreadyExists()"))
    self.kept[channel] = Channel(
        finalized=False,
        closeRequestedAt=0,
        payer=msg.sender,
        payee=payee,
        token=token,
        authorizedSigner=authorizedSigner,
        deposit=deposit,
        settled=0,
    )
    self._pull(token, convert(deposit, uint256))
    log ChannelOpened(
        channelId=channel,
        payer=msg.sender,
        payee=payee,
        token=token,
        authorizedSigner=authorizedSigner,
        salt=salt,
        deposit=convert(deposit, uint256),
    )
    return channel


@external
def settle(channelId: bytes32, cumulativeAmount: uint128, signature: Bytes[SIGNATURE_BYTES]):
    channel: Channel = self._active(channelId)
    if msg.sender != channel.payee:
        raw_revert(method_id("NotPayee()"))
    if cumulativeAmount > channel.deposit:
        raw_revert(method_id("AmountExceedsDeposit()"))
    if cumulativeAmount <= channel.settled:
        raw_revert(method_id("AmountNotIncreasing()"))
    self._require_voucher(channel, channelId, cumulativeAmount, signature)
    delta: uint128 = cumulativeAmount - channel.settled
    self.kept[channelId].settled = cumulativeAmount
    self._pay(channel.token, channel.payee, convert(delta, uint256))
    log Settled(
        channelId=channelId,
        payer=channel.payer,
        payee=channel.payee,
        cumulativeAmount=convert(cumulativeAmount, uint256),
        deltaPaid=convert(delta, uint256),
        newSettled=convert(cumulativeAmount, uint256),
    )


@external
def topUp(channelId: bytes32, additionalDeposit: uint256):
    channel: Channel = self._active(channelId)
    if msg.sender != channel.payer:
        raw_revert(method_id("NotPayer()"))
    if additionalDeposit > convert(max_value(uint128) - channel.deposit, uint256):
        raw_revert(method_id("DepositOverflow()"))
    deposit: uint128 = channel.deposit + convert(additionalDeposit, uint128)
    self.kept[channelId].deposit = deposit
    self.kept[channelId].closeRequestedAt = 0
    if additionalDeposit != 0:
        self._pull(channel.token, additionalDeposit)
        log TopUp(
            channelId=channelId,
            payer=channel.payer,
            payee=channel.payee,
            additionalDeposit=additionalDeposit,
            newDeposit=convert(deposit, uint256),
        )
    if channel.closeRequestedAt != 0:
        log CloseRequestCancelled(channelId=channelId, payer=channel.payer, payee=channel.payee)


@external
def close(channelId: bytes32, cumulativeAmount: uint128, signature: Bytes[SIGNATURE_BYTES]):
    # an amount that is settled already pays nothing and needs no voucher: so a payee can always let a payer go
    channel: Channel = self._active(channelId)
    if msg.sender != channel.payee:
        raw_revert(method_id("NotPayee()"))
    if cumulativeAmount > channel.settled:
        if cumulativeAmount > channel.deposit:
            raw_revert(method_id("AmountExceedsDeposit()"))
        self._require_voucher(channel, channelId, cumulativeAmount, signature)
        delta: uint128 = cumulativeAmount - channel.settled
        channel.settled = cumulativeAmount
        self._end(channelId, channel, delta)
    else:
        self._end(channelId, channel, 0)


@external
def requestClose(channelId: bytes32):
    channel: Channel = self._active(channelId)
    if msg.sender != channel.payer:
        raw_revert(method_id("NotPayer()"))
    if channel.closeRequestedAt != 0:
        return
    self.kept[channelId].closeRequestedAt = convert(block.timestamp, uint64)
    log CloseRequested(
        channelId=channelId,
        payer=channel.payer,
        payee=channel.payee,
        closeGraceEnd=block.timestamp + convert(GRACE, uint256),
    )


@external
def withdraw(channelId: bytes32):
    channel: Channel = self._active(channelId)
    if msg.sender != channel.payer:
        raw_revert(method_id("NotPayer()"))
    if channel.closeRequestedAt == 0 or block.timestamp < convert(channel.closeRequestedAt + GRACE, uint256):
        raw_revert(method_id("CloseNotReady()"))
    log ChannelExpired(channelId=channelId, payer=channel.payer, payee=channel.payee)
    self._end(channelId, channel, 0)


# --- views ---


@external
@view
def CLOSE_GRACE_PERIOD() -> uint64:
    return GRACE


@external
@view
def VOUCHER_TYPEHASH() -> bytes32:
    return VOUCHER


@external
@view
def channels(channelId: bytes32) -> (bool, uint64, address, address, address, address, uint128, uint128):
    channel: Channel = self.kept[channelId]
    return (
        channel.finalized,
        channel.closeRequestedAt,
        channel.payer,
        channel.payee,
        channel.token,
        channel.authorizedSigner,
        channel.deposit,
        channel.settled,
    )


@external
@view
def getChannel(channelId: bytes32) -> Channel:
    return self.kept[channelId]


@external
@view
def getChannelsBatch(channelIds: DynArray[bytes32, BATCH]) -> DynArray[Channel, BATCH]:
    found: DynArray[Channel, BATCH] = []
    for channel: bytes32 in channelIds:
        found.append(self.kept[channel])
    return found


@external
@view
def computeChannelId(
    payer: address, payee: address, token: address, salt: bytes32, authorizedSigner: address
) -> bytes32:
    return self._id(payer, payee, token, salt, authorizedSigner)


@external
@view
def getVoucherDigest(channelId: bytes32, cumulativeAmount: uint128) -> bytes32:
    return self._digest(channelId, cumulativeAmount)


@external
@view
def domainSeparator() -> bytes32:
    return self._domain()


@external
@view
def eip712Domain() -> (bytes1, String[32], String[8], uint256, address, bytes32, DynArray[uint256, 1]):
    extensions: DynArray[uint256, 1] = []
    return (0x0f, "Tempo Stream Channel", "1", chain.id, self, empty(bytes32), extensions)


# --- inside ---


@internal
@view
def _id(payer: address, payee: address, token: address, salt: bytes32, signer: address) -> bytes32:
    return keccak256(abi_encode(payer, payee, token, salt, signer, self, chain.id))


@internal
@view
def _domain() -> bytes32:
    return keccak256(abi_encode(DOMAIN, NAME, VERSION, chain.id, self))


@internal
@view
def _digest(channel: bytes32, amount: uint128) -> bytes32:
    return keccak256(concat(b"\x19\x01", self._domain(), keccak256(abi_encode(VOUCHER, channel, amount))))


@internal
@view
def _active(channel: bytes32) -> Channel:
    found: Channel = self.kept[channel]
    if found.finalized:
        raw_revert(method_id("ChannelFinalized()"))
    if found.payer == empty(address):
        raw_revert(method_id("ChannelNotFound()"))
    return found


@internal
@view
def _require_voucher(channel: Channel, channel_id: bytes32, amount: uint128, signature: Bytes[SIGNATURE_BYTES]):
    expected: address = channel.authorizedSigner
    if expected == empty(address):
        expected = channel.payer
    if self._signer(self._digest(channel_id, amount), signature) != expected:
        raw_revert(method_id("InvalidSignature()"))


@internal
@view
def _signer(digest: bytes32, signature: Bytes[SIGNATURE_BYTES]) -> address:
    # 65 bytes r || s || v, or the 64 of EIP-2098, whose top bit of s is v
    if len(signature) != 65 and len(signature) != 64:
        raw_revert(method_id("InvalidSignature()"))
    r: uint256 = convert(slice(signature, 0, 32), uint256)
    s: uint256 = convert(slice(signature, 32, 32), uint256)
    v: uint256 = 27
    if len(signature) == 65:
        v = convert(slice(signature, 64, 1), uint256)
    else:
        v += s >> 255
        s = s & (2**255 - 1)
    if (v != 27 and v != 28) or s > convert(HALF_ORDER, uint256):
        raw_revert(method_id("InvalidSignature()"))
    signer: address = ecrecover(digest, v, r, s)
    if signer == empty(address):
        raw_revert(method_id("InvalidSignature()"))
    return signer


@internal
def _pull(token: address, amount: uint256):
    # nobody's tokens but the caller's own
    if not extcall Token(token).transferFrom(msg.sender, self, amount):
        raw_revert(method_id("TransferFailed()"))


@internal
def _pay(token: address, to: address, amount: uint256):
    if not extcall Token(token).transfer(to, amount):
        raw_revert(method_id("TransferFailed()"))


@internal
def _end(channel_id: bytes32, channel: Channel, delta: uint128):
    # channel.settled is the final amount, of which `delta` is still to be paid
    refund: uint256 = convert(channel.deposit - channel.settled, uint256)
    self.kept[channel_id].finalized = True
    self.kept[channel_id].settled = channel.settled
    if delta != 0:
        self._pay(channel.token, channel.payee, convert(delta, uint256))
    if refund != 0:
        self._pay(channel.token, channel.payer, refund)
    log ChannelClosed(
        channelId=channel_id,
        payer=channel.payer,
        payee=channel.payee,
        settledToPayee=convert(channel.settled, uint256),
        refundedToPayer=refund,
    )
