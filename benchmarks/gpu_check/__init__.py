"""Every open CUDA figure of docs/performance.md, measured by one command in parts."""
