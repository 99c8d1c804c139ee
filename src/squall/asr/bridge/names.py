"""What others have to know of the bridge without importing ESPnet."""

MODEL_NAME = "squall"
"""The name of squall's model among those of ESPnet."""

WITH_TRANSFORMERS = "SQUALL_ESPNET_TRANSFORMERS"
"""The environment variable that lets ESPnet import `transformers`."""

FETCHED_PARTS = (
    *("avhubert", "beats", "espnet_ssl", "fused", "hubert", "hubert_pretrain", "huggingface"),
    *("hugging_face_transformers", "s3prl", "transformer_opt", "wav2vec2", "whisper"),
)
"""Parts of ESPnet that read a network of someone else's from a file or an address of their own."""
