// An mppx server that sells from sessions, until its input ends: node sessionserver.mjs RPC_URL PRIVATE_KEY
// GET /paid costs a thousandth; GET /words streams ten words for as much each. Prints its URL.
import { createServer } from 'node:http'
import { Mppx as Server, Request as Bridge, Store, tempo as selling } from 'mppx/server'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoModerato } from 'viem/tempo/chains'

const [rpcUrl, key] = process.argv.slice(2)
const account = privateKeyToAccount(key)
const method = selling.session({
  account,
  recipient: account.address,
  currency: '0x20c0000000000000000000000000000000000000',
  getClient: () => createClient({ chain: tempoModerato, transport: http(rpcUrl) }),
  store: Store.memory(),
  sse: true,
})
const mppx = Server.create({ methods: [method], realm: 'api.example.com', secretKey: 'x'.repeat(64) })
let count = 0

const listener = Bridge.toNodeListener(async (request) => {
  const streams = new URL(request.url).pathname === '/words'
  const result = await mppx.session({ amount: '0.001', unitType: streams ? 'word' : 'request' })(request)
  if (result.status === 402) return result.challenge
  if (request.method === 'GET') count++ // what manages a channel comes by here, too, and gets no content
  if (!streams) return result.withReceipt(Response.json({ count }))
  return result.withReceipt(async function* (stream) {
    for (let word = 0; word < 10; word++) {
      await stream.charge()
      yield `word ${word}`
    }
  })
})
const server = createServer(listener)
server.listen(0, '127.0.0.1', () => console.log(`http://127.0.0.1:${server.address().port}`))
process.stdin.on('end', () => process.exit(0)).resume()
