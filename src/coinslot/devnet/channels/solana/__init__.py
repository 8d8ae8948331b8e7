"""Own test program for payment channels on Solana: source, linker, the compiled program and its address."""
