"""The maker of the tiny Stable Diffusion 3 that the quickstart fine-tunes."""
