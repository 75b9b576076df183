"""The trained weights in the formats of other tools, each loaded back before it counts."""
