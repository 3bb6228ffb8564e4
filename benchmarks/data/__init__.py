"""What the data plane is measured by: reading beside other loaders, resuming, the shuffle, planning, memory."""
