"""Audio: reading and resampling, noise and mixing, filterbanks, features, masks."""
