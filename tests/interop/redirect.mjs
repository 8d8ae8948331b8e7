// node --import: what the peer's command asks of the public test network goes to the local chain instead.
const local = process.env.PEER_RPC_URL
const send = globalThis.fetch
globalThis.fetch = (input, init) => {
  const url = new URL(input instanceof Request ? input.url : input)
  if (!url.hostname.endsWith('.tempo.xyz')) return send(input, init)
  return input instanceof Request ? send(new Request(local, input), init) : send(local, init)
}
