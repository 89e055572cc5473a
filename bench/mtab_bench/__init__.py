"""Accuracy, parity and latency of a bundle beside PyTorch, in one report."""
