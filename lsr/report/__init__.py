"""Pages, charts, sheets and tables: pure functions from rows to bytes."""
