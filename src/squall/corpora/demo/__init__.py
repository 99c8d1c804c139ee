"""The demo's corpus, and the synthesiser that speaks it."""
