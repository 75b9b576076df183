"""The lab: methods x seeds as independent runs, and their paired comparison. It needs no torch."""
