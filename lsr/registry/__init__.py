"""Tracking, packaging, versions and promotion. All of LSR's use of MLflow is here.

The truth about promotion is a log in the store (`promotion`); MLflow's aliases are its image (`aliases`). `runs` and
`tracking` write experiments, `packaging` builds a self-contained model version, `versions` registers, resolves and
fetches it. MLflow is imported when the first client is opened, never by importing this package.
"""
