"""Floor 3b: how a model is measured and judged; imports floors 3a and below, never the registry or the cluster.

`protocol` and `generation` turn pictures into rows, `bootstrap` turns rows into intervals, `gate` turns intervals
into a verdict, `report` and `sheet` show all of it to people. `controls` holds the systems that must lose.
"""
