"""Recognition: the only package that imports ESPnet."""
