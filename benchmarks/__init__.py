"""Benchmarks: each claim of speed is one script, measured by hand, its results committed with hardware and commit.

`python -m benchmarks.NAME` runs one, `make bench` all. Every figure is a ratio to a reference that runs in the same
process tree, interleaved with it (`harness`), so that a slow or busy machine slows both. Results go to
`benchmarks/results/`: one JSON a claim, and a page that is drawn from all of them. Nothing here is timed by a test.
"""
