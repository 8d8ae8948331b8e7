// The JavaScript peer as a long-running process: one JSON object a line in, one a line out, by {id, op, args}.
// Runs from the folder that holds its node_modules.
import { createServer } from 'node:http'
import { createInterface } from 'node:readline'
import { BodyDigest, Challenge, Credential, Receipt } from 'mppx'
import { Mppx as Client, tempo as paying } from 'mppx/client'
import { Mppx as Server, Request as Bridge, Store, tempo as selling } from 'mppx/server'
import { Proof } from 'mppx/tempo'
import { createClient, http } from 'viem'
import { privateKeyToAccount } from 'viem/accounts'
import { tempoModerato } from 'viem/tempo/chains'
import * as Attribution from './node_modules/mppx/dist/tempo/Attribution.js'

const servers = new Map()

const chain = (rpcUrl) => () => createClient({ chain: tempoModerato, transport: http(rpcUrl) })

function serve({ rpcUrl, realm, secretKey, charge, routes }) {
  const hits = {}
  const { feePayerKey, ...rest } = charge
  const method = selling.charge({
    getClient: chain(rpcUrl),
    store: Store.memory(),
    ...(feePayerKey ? { account: privateKeyToAccount(feePayerKey), feePayer: true } : {}),
    ...rest,
  })
  const mppx = Server.create({ methods: [method], realm, secretKey })
  const listener = Bridge.toNodeListener(async (request) => {
    const { pathname } = new URL(request.url)
    const options = routes[`${request.method} ${pathname}`]
    if (!options) return new Response('nothing here', { status: 404 })
    const body = await request.clone().text()
    const { expiresIn, ...asked } = options
    const expires = expiresIn ? { expires: new Date(Date.now() + expiresIn * 1000).toISOString() } : {}
    const result = await mppx.charge({ ...asked, ...expires })(request)
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

async function pay({ url, method = 'GET', body, headers = {}, rpcUrl, key, mode, times = 1 }) {
  const events = []
  const client = Client.create({
    polyfill: false,
    methods: [paying.charge({ account: privateKeyToAccount(key), getClient: chain(rpcUrl), ...(mode ? { mode } : {}) })],
  })
  client.onChallengeReceived?.((event) => void events.push(event.challenge.id))
  const answers = []
  for (let turn = 0; turn < times; turn++) {
    const response = await client.fetch(url, { method, headers, ...(body === undefined ? {} : { body }) })
    const receipt = response.headers.get('payment-receipt')
    answers.push({
      status: response.status,
      headers: Object.fromEntries(response.headers),
      body: await response.text(),
      receipt: receipt ? Receipt.deserialize(receipt) : null,
    })
  }
  return { ...answers[0], answers, challenges: events }
}

// A credential made by the peer for a 402 that we hand it, not sent anywhere.
async function credential({ header, rpcUrl, key, mode }) {
  const client = Client.create({
    polyfill: false,
    methods: [paying.charge({ account: privateKeyToAccount(key), getClient: chain(rpcUrl), ...(mode ? { mode } : {}) })],
  })
  return client.createCredential(new Response(null, { status: 402, headers: { 'www-authenticate': header } }))
}

const proofOf = ({ chainId, id, realm, account }) => ({ account, chainId, challengeId: id, realm })

const ops = {
  ping: () => 'pong',
  serve,
  pay,
  credential,
  hits: ({ url }) => servers.get(url).hits,
  close: ({ url }) => {
    servers.get(url).server.close()
    servers.delete(url)
    return true
  },
  'challenge.format': ({ secretKey, ...fields }) => {
    const challenge = Challenge.from({ ...fields, secretKey })
    return { id: challenge.id, text: Challenge.serialize(challenge) }
  },
  'challenge.parse': ({ text }) => Challenge.deserialize(text),
  'challenge.verify': ({ text, secretKey }) => Challenge.verify(Challenge.deserialize(text), { secretKey }),
  'credential.format': ({ text, payload, source }) =>
    Credential.serialize(Credential.from({ challenge: Challenge.deserialize(text), payload, ...(source ? { source } : {}) })),
  'credential.parse': ({ text }) => Credential.deserialize(text),
  'receipt.format': (fields) => Receipt.serialize(Receipt.from(fields)),
  'receipt.parse': ({ text }) => Receipt.deserialize(text),
  digest: ({ body }) => BodyDigest.compute(body),
  'digest.verify': ({ digest, body }) => BodyDigest.verify(digest, body),
  'proof.digest': (args) => Proof.hash(proofOf(args)),
  'proof.sign': async ({ key, ...args }) => {
    const account = privateKeyToAccount(key)
    return account.signTypedData(Proof.typedData(proofOf({ ...args, account: account.address })))
  },
  address: ({ key }) => privateKeyToAccount(key).address,
  source: (args) => Proof.proofSource(args),
  memo: (args) => Attribution.encode(args),
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
