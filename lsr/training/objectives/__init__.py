"""One module per stage: what it trains, its loss and its image. Each class is an `lsr.training.protocols.Objective`."""
