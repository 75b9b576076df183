"""Model families: the only room that imports diffusers and peft."""
