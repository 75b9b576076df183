"""Pure mathematics: no model, file, clock, logger, device choice or global random state."""
