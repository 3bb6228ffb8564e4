"""One file per stage: what it reads, makes and records. Importing this package loads nothing heavy."""
