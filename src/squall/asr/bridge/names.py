"""What others have to know of the bridge without importing ESPnet."""

MODEL_NAME = "squall"
"""The name of squall's model among those of ESPnet."""

WITH_TRANSFORMERS = "SQUALL_ESPNET_TRANSFORMERS"
"""The environment variable that lets ESPnet import `transformers`."""
