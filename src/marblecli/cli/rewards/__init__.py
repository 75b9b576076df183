"""``marble rewards`` and its commands."""
