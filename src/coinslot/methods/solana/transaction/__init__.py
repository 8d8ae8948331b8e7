"""The transactions of a Solana charge."""
