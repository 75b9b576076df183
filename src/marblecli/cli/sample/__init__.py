"""``marble sample``: ``command.py`` has its options, ``prepare.py`` checks, ``run.py`` draws."""
