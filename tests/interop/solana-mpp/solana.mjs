// @solana/mpp as a long-running process, its client and its server of charges. Orders as in lines.mjs. Runs from the
// folder that holds its node_modules.
import { createServer } from 'node:http'
import { createKeyPairSignerFromPrivateKeyBytes } from '@solana/kit'
import {
  isSolanaChargeChallenge,
  isSolanaSessionChallenge,
  Mppx as Client,
  solana as paying,
  voucherMessageBytes,
} from '@solana/mpp/client'
import { Mppx as Server, Store, solana as selling } from '@solana/mpp/server'
import { Challenge, Receipt } from 'mppx'
import { Request as Bridge } from 'mppx/server'
import { take } from './lines.mjs'

const servers = new Map()

const signerOf = (key) => createKeyPairSignerFromPrivateKeyBytes(Uint8Array.from(Buffer.from(key, 'hex')))

// One request by its client, which pays by charge, and by session too if asked to.
async function pay({ url, key, rpcUrl, method = 'GET', body, sessions = false, ...options }) {
  const charge = paying.charge({ signer: await signerOf(key), rpcUrl, ...options })
  const client = Client.create({ polyfill: false, methods: sessions ? [charge, paying.session()] : [charge] })
  const response = await client.fetch(url, { method, ...(body === undefined ? {} : { body }) })
  const receipt = response.headers.get('payment-receipt')
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: await response.text(),
    receipt: receipt ? Receipt.deserialize(receipt) : null,
  }
}

// A server: `routes` by path, each with the settings of a charge and the options of a request.
async function serve({ rpcUrl, realm, secretKey, sponsor, charge, routes }) {
  const hits = {}
  const store = Store.memory()
  const signer = sponsor ? { signer: await signerOf(sponsor) } : {}
  const sold = Object.fromEntries(
    Object.entries(routes).map(([path, { settings, ...asked }]) => {
      const method = selling.charge({ rpcUrl, store, network: 'localnet', ...signer, ...charge, ...settings })
      return [path, Server.create({ methods: [method], realm, secretKey }).charge(asked)]
    }),
  )
  const listener = Bridge.toNodeListener(async (request) => {
    const { pathname } = new URL(request.url)
    const body = await request.clone().text()
    const result = await sold[pathname](request)
    if (result.status === 402) return result.challenge
    hits[pathname] = (hits[pathname] ?? 0) + 1
    return result.withReceipt(Response.json({ path: pathname, body }))
  })
  const server = createServer(listener)
  return new Promise((resolve) =>
    server.listen(0, '127.0.0.1', () => {
      const url = `http://127.0.0.1:${server.address().port}`
      servers.set(url, { server, hits })
      resolve({ url })
    }),
  )
}

await take({
  ping: () => 'pong',
  pay,
  // By whose rules the offers of a 402 are well-formed: its own.
  reads: ({ header }) =>
    Challenge.deserializeList(header).map((one) => [
      one.intent,
      one.intent === 'session' ? isSolanaSessionChallenge(one) : isSolanaChargeChallenge(one),
    ]),
  voucher: (data) => Buffer.from(voucherMessageBytes(data)).toString('hex'),
  serve,
  hits: ({ url }) => servers.get(url).hits,
  close: ({ url }) => {
    const { server } = servers.get(url)
    server.closeAllConnections()
    server.close()
    return servers.delete(url)
  },
})
