"""A study carried by hand to a machine with one GPU, and its results back (docs/study.md)."""
