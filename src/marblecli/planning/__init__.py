"""What a recipe takes, before anything is loaded."""
