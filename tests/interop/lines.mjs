// Orders to a peer, one JSON object a line in, one a line out, by {id, op, args}; ends the process where they end.
import { createInterface } from 'node:readline'

export async function take(ops) {
  for await (const line of createInterface({ input: process.stdin })) {
    const { id, op, args } = JSON.parse(line)
    Promise.resolve()
      .then(() => ops[op](args))
      .then(
        (value) => ({ id, value }),
        (error) => ({ id, error: `${error?.name}: ${error?.message}${error?.cause ? ` (${error.cause})` : ''}` }),
      )
      .then((answer) => process.stdout.write(`${JSON.stringify(answer, plain)}\n`))
  }
  process.exit(0)
}

const plain = (_, value) => (typeof value === 'bigint' ? value.toString() : value)
