"""How K gradients become one: balance methods, one a file."""
