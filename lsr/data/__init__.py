"""Data sets as manifests over immutable shards: manifests, reading, sample order, degradations, batches.

May import torch, numpy, PIL, pyarrow.parquet, lsr.nn, lsr.store, lsr.core and data_prep.config. The only door to
reading WebDataset; writing it is data_prep's.
"""
