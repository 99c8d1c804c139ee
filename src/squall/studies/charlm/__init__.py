"""Language models over characters: a Transformer-XL on text8 and enwik8, by loss."""
