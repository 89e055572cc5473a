"""What a model repository of ours is made of."""

MODEL, GRAPH_MODEL = "mtab", "mtab_graph"
"""The model that takes audio and text, and the one that it asks: the bundle's graph."""

DESCRIPTION, GRAPH_ENTRY = "bundle", "graph.json"
"""Beside ``model.py``, the folder that describes the bundle; and the graph's `mtab.bundle.GraphEntry` in it."""
