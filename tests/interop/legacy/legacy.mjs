// mppx 0.6.31's session server (v1) as a long-running process. Orders as in lines.mjs. Runs from the folder that holds
// its node_modules.
import { createServer } from 'node:http'
import { Mppx as Server, Request as Bridge, Store, tempo as selling } from 'mppx/server'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoModerato } from 'viem/tempo/chains'
import { take } from './lines.mjs'

const servers = new Map()

// The credential that a request shows, or null.
function shown(request) {
  const [, text] = /^Payment (.*)$/.exec(request.headers.get('authorization') ?? '') ?? []
  return text ? JSON.parse(Buffer.from(text, 'base64url').toString()) : null
}

function serve({ rpcUrl, realm, secretKey, key, session, price, words }) {
  const client = createClient({ chain: tempoModerato, transport: http(rpcUrl) })
  const hits = [] // what came, and the status of our answer
  const method = (more) =>
    selling.session({ account: privateKeyToAccount(key), getClient: () => client, store, ...session, ...more })
  const store = Store.memory()
  const plain = Server.create({ methods: [method({})], realm, secretKey })
  const streaming = Server.create({ methods: [method({ sse: true })], realm, secretKey })
  const answer = async (request) => {
    const { pathname } = new URL(request.url)
    const streams = pathname === '/words'
    const mppx = streams ? streaming : plain
    const result = await mppx.session({ ...price, unitType: streams ? 'word' : 'request' })(request)
    if (result.status === 402) return result.challenge
    if (!streams) return result.withReceipt(Response.json({ path: pathname }))
    return result.withReceipt(async function* (stream) {
      for (let n = 0; n < words; n++) {
        await stream.charge()
        yield `word ${n}`
      }
    })
  }
  const listener = Bridge.toNodeListener(async (request) => {
    const response = await answer(request)
    hits.push([request.method, shown(request)?.payload.action ?? null, response.status])
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
  serve,
  hits: ({ url }) => servers.get(url).hits.splice(0),
  stop: ({ url }) => {
    const { server } = servers.get(url)
    server.closeAllConnections()
    server.close()
    return servers.delete(url)
  },
})
