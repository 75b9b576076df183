"""The quadratic program of the min-norm point, and its solvers."""
