"""The name of squall's model among those of ESPnet."""

MODEL_NAME = "squall"
