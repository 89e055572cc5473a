"""The paper's experiments on a corpus: its rows, its rivals and the classical floors, compared."""
