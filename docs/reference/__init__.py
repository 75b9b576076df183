"""The pages that are generated from the code; ``docs/generate.py`` writes them."""
