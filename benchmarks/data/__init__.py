"""What the data plane is measured by: the quality of the shuffle and the cost of planning."""
