"""Own test contracts for payment channels: sources, their bytecode, and how the one becomes the other."""
