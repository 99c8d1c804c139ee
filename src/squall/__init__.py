"""squall: square losses and kernel learning for speech recognition and enhancement."""

__version__ = "0.1.0"
