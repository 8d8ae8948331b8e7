"""Sessions on Solana: payment channels of the channel program."""
