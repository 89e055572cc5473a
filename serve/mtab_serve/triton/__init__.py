"""A bundle in NVIDIA Triton: a model repository, and what runs in its Python backend."""
