"""Corpora of tokens, strings and sentence pairs, and the batches that are cut from them.

Nothing is imported here: who reads a record or opens a text needs no torch. `data.sources.open_corpus` opens a corpus.
"""
