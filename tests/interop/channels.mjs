// mppx's sessions as a long-running process: its clients of both protocols, and its server of v2. Orders as in
// lines.mjs. Runs from the folder that holds its node_modules.
import { createServer } from 'node:http'
import { Receipt } from 'mppx'
import { Mppx as Client, tempo as paying } from 'mppx/client'
import { Mppx as Server, Request as Bridge, Store, tempo as selling } from 'mppx/server'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoModerato } from 'viem/tempo/chains'
import WebSocket from 'ws'
import { take } from './lines.mjs'

const chain = (rpcUrl) => createClient({ chain: tempoModerato, transport: http(rpcUrl) })

// The credential that a request shows, or null.
function shown(request) {
  const [, text] = /^Payment (.*)$/.exec(request.headers.get('authorization') ?? '') ?? []
  return text ? JSON.parse(Buffer.from(text, 'base64url').toString()) : null
}

// --- clients -------------------------------------------------------------------------------------

const payers = new Map()

// What was sent, with the action of its credential, and what came back: [method, action, status].
function watched(log) {
  return async (input, init) => {
    const request = new Request(input, init)
    const credential = shown(request)
    const response = await fetch(input, init)
    log.push([request.method, credential?.payload.action ?? credential?.payload.type ?? null, response.status])
    return response
  }
}

const kinds = {
  // The session method under the plain paying fetch: opens, pays, tops up and streams by itself.
  fetch: (options, log) => {
    const client = Client.create({ polyfill: false, fetch: watched(log), methods: [paying.session(options)] })
    return { fetch: client.fetch }
  },
  // Both methods of the plain paying fetch.
  common: (options, log) => {
    const client = Client.create({ polyfill: false, fetch: watched(log), methods: [paying.common(options)] })
    return { fetch: client.fetch }
  },
  manager: (options, log) => paying.session.manager({ ...options, fetch: watched(log), webSocket: WebSocket }),
  // v1, which their client calls legacy.
  legacy: (options, log) => paying.sessionLegacy({ ...options, fetch: watched(log) }),
}

function payer({ kind, rpcUrl, key, ...options }) {
  const log = []
  const common = { account: privateKeyToAccount(key), getClient: () => chain(rpcUrl), ...options }
  payers.set(payers.size, { self: kinds[kind](common, log), log })
  return payers.size - 1
}

async function told(response) {
  const receipt = response.headers.get('payment-receipt')
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    receipt: receipt ? Receipt.deserialize(receipt) : null,
    body: await response.text(),
  }
}

async function stream({ payer, url, ...init }) {
  const { self } = payers.get(payer)
  const receipts = []
  const words = []
  for await (const word of await self.sse(url, { ...init, onReceipt: (receipt) => receipts.push(receipt) })) words.push(word)
  return { words, receipts }
}

// Reads a paid WebSocket to its end, or until so many messages came.
async function socket({ payer, url, count }) {
  const { self } = payers.get(payer)
  const receipts = []
  const words = []
  const socket = await self.ws(url, { onReceipt: (receipt) => receipts.push(receipt) })
  await new Promise((resolve) => {
    socket.addEventListener('message', ({ data }) => words.push(data) === count && resolve())
    socket.addEventListener('close', resolve)
  })
  return { words, receipts }
}

// --- the server ----------------------------------------------------------------------------------

const servers = new Map()

function serve({ rpcUrl, realm, secretKey, key, session, price, words }) {
  const store = Store.memory()
  const hits = [] // what came, and the status of our answer
  const known = new Map() // payer's source -> channel: how a server of theirs knows whose channel to tell of
  const { feePayerKey, ...rest } = session
  const method = selling.session({
    account: privateKeyToAccount(key),
    getClient: () => chain(rpcUrl),
    store,
    sse: true,
    bootstrap: true,
    resolveChannelId: ({ source }) => known.get(source?.toLowerCase()),
    ...(feePayerKey ? { feePayer: privateKeyToAccount(feePayerKey) } : {}),
    ...rest,
  })
  const mppx = Server.create({ methods: [method], realm, secretKey })
  const answer = async (request, credential) => {
    const { pathname } = new URL(request.url)
    const streams = pathname === '/words'
    const result = await mppx.session({ ...price, unitType: streams ? 'word' : 'request' })(request)
    if (result.status === 402) return result.challenge
    if (credential?.payload.channelId) known.set(credential.source?.toLowerCase(), credential.payload.channelId)
    if (!streams) return result.withReceipt(Response.json({ path: pathname }))
    return result.withReceipt(async function* (stream) {
      for (let n = 0; n < words; n++) {
        await stream.charge()
        yield `word ${n}`
      }
    })
  }
  const listener = Bridge.toNodeListener(async (request) => {
    const credential = shown(request)
    const response = await answer(request, credential)
    hits.push([request.method, credential?.payload.action ?? credential?.payload.type ?? null, response.status])
    return response
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
  payer,
  fetch: async ({ payer, url, method = 'GET', headers = {}, body }) =>
    told(await payers.get(payer).self.fetch(url, { method, headers, ...(body === undefined ? {} : { body }) })),
  stream,
  socket,
  open: ({ payer, deposit }) => payers.get(payer).self.open({ deposit: BigInt(deposit) }),
  topUp: ({ payer, amount }) => payers.get(payer).self.topUp(amount),
  closeChannel: ({ payer }) => payers.get(payer).self.close(),
  standing: ({ payer }) => {
    const { self } = payers.get(payer)
    return { channelId: self.channelId, cumulative: self.cumulative, opened: self.opened, state: self.state }
  },
  log: ({ payer }) => payers.get(payer).log.splice(0),
  serve,
  hits: ({ url }) => servers.get(url).hits.splice(0),
  stop: ({ url }) => {
    const { server } = servers.get(url)
    server.closeAllConnections()
    server.close()
    return servers.delete(url)
  },
})
