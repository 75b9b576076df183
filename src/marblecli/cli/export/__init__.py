"""``marble export``: ``command.py`` has its options, ``run.py`` what it does."""
