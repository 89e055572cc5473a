"""Readers of corpora, without torch: IEMOCAP, MELD, EmoDB and a CSV manifest."""
