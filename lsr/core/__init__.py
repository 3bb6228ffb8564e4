"""Floor 0: the vocabulary that every room speaks. Standard library and rfc8785 only; no torch, no services."""
