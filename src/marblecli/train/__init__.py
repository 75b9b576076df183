"""Training with torch: the only room that imports diffusers, peft and accelerate."""
