"""One module a stage: what it trains, its loss and its picture. Every class is an `lsr.training.protocols.Objective`."""
