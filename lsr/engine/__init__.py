"""The stage table, requests, reuse, launching and what a running stage is given. Knows no image and no loss."""
