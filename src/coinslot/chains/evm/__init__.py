"""How to speak to a chain with an Ethereum virtual machine: bytes, signatures and RPC. Knows no payment."""
