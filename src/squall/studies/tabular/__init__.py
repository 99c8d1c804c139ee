"""Many tables of numbers: small networks with each loss on every set of a collection."""
