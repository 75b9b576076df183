"""Stable Diffusion 3, 3.5 Medium and 3.5 Large."""
