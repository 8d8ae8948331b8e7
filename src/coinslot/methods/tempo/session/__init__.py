"""Sessions on Tempo: payment channels, protocols v1 (a contract) and v2 (TIP-1034)."""
