"""A bundle behind an address, on a cluster, in Triton and in a web page."""
