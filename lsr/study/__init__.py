"""Studies: several systems, one budget, one protocol, one table."""
