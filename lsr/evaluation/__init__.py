"""How a model is measured and judged.

`protocol` and `generation` turn images into rows, `bootstrap` turns rows into intervals, `gate` turns intervals
into a verdict, `report` and `sheet` show all of it to people. `controls` holds the systems that must lose.
"""
