"""Corpora: one file per corpus, each turning a corpus on disk into manifests."""
