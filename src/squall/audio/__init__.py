"""Audio: reading, resampling, synthesis of the demo's voices."""
