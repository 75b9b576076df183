"""What a recipe's fields ask of one another and of the disk: one subject a file."""
