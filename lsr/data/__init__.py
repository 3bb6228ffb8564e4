"""Data sets as manifests over immutable shards: manifests, reading, sample order, degradations, batches.

WebDataset is read here and written by data_prep.
"""
