// mppx's session primitives as a long-running process: one JSON object a line in, one a line out, by {id, op, args}.
// Runs from the folder that holds its node_modules.
import { createInterface } from 'node:readline'
import { Session, SessionLegacy } from 'mppx/tempo'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { Transaction } from 'viem/tempo'
import { tempoModerato } from 'viem/tempo/chains'

// Never asked: signing is local.
const client = createClient({ chain: tempoModerato, transport: http('http://127.0.0.1:9') })
const { Channel, Protocol, Voucher } = Session.Precompile
const Legacy = SessionLegacy.Session

const voucherOf = ({ channelId, amount }) => ({ channelId, cumulativeAmount: BigInt(amount) })

const ops = {
  ping: () => 'pong',
  'v2.id': (descriptor) => Channel.computeId(descriptor),
  'v1.id': ({ escrow, ...channel }) => Legacy.Channel.computeId({ ...channel, escrowContract: escrow }),
  'v2.sign': ({ key, escrow, chainId, ...voucher }) =>
    Voucher.signVoucher(client, privateKeyToAccount(key), voucherOf(voucher), escrow, chainId),
  'v1.sign': ({ key, escrow, chainId, ...voucher }) =>
    Legacy.Voucher.signVoucher(client, privateKeyToAccount(key), voucherOf(voucher), escrow, chainId),
  'v2.verify': ({ escrow, chainId, signature, signer, ...voucher }) =>
    Voucher.verifyVoucher(escrow, chainId, { ...voucherOf(voucher), signature }, signer),
  'v1.verify': ({ escrow, chainId, signature, signer, ...voucher }) =>
    Legacy.Voucher.verifyVoucher(escrow, chainId, { ...voucherOf(voucher), signature }, signer),
  // Microseconds of one verification, the best of several rounds.
  'time.verify': async ({ version, count, ...order }) => {
    let best = Infinity
    for (let round = 0; round < 5; round++) {
      const begun = process.hrtime.bigint()
      for (let turn = 0; turn < count; turn++) if (!(await ops[`${version}.verify`](order))) throw new Error('not taken')
      best = Math.min(best, Number(process.hrtime.bigint() - begun) / 1000 / count)
    }
    return best
  },
  nonceHash: ({ transaction, sender, feePayer }) =>
    Channel.computeExpiringNonceHash(
      Channel.transactionForExpiringNonceHash({ feePayer, transaction: Transaction.deserialize(transaction) }),
      { sender },
    ),
  'snapshot.format': (snapshot) => Session.serializeSnapshot(snapshot),
  'snapshot.parse': ({ text }) => Session.deserializeSnapshot(text),
  'receipt.parse': ({ text }) => Protocol.deserializeSessionReceipt(text),
  'receipt.format': ({ accepted, spent, ...rest }) =>
    Protocol.serializeSessionReceipt(
      Protocol.createSessionReceipt({ ...rest, acceptedCumulative: BigInt(accepted), spent: BigInt(spent) }),
    ),
  batch: ({ op, list }) =>
    Promise.all(
      list.map(async (args) => {
        try {
          return { value: await ops[op](args) }
        } catch (error) {
          return { error: String(error?.message ?? error) }
        }
      }),
    ),
}

for await (const line of createInterface({ input: process.stdin })) {
  const { id, op, args } = JSON.parse(line)
  Promise.resolve()
    .then(() => ops[op](args))
    .then(
      (value) => ({ id, value }),
      (error) => ({ id, error: `${error?.name}: ${error?.message}${error?.cause ? ` (${error.cause})` : ''}` }),
    )
    .then((answer) => process.stdout.write(`${JSON.stringify(answer)}\n`))
}
process.exit(0)
