"""All that touches ESPnet's own classes: its task, model, trainer and processes."""
