"""How to speak to a Solana chain: addresses, signatures, transactions and RPC. Knows no payment."""
