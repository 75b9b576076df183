"""Fine-tune Stable Diffusion 3.5 on several rewards at once."""
