"""What the measured batches of a run tell of the conflicts between rewards. NumPy only."""
