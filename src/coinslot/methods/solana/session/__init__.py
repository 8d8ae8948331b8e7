"""Payment channels of the `session` intent on Solana (SSES)."""
