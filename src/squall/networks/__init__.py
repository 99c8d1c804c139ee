"""Small networks: many at once or one, their batches, checkpoints and training loop."""
