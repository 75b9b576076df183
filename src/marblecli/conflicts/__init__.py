"""What measured batches tell of the conflicts between rewards. NumPy only."""
