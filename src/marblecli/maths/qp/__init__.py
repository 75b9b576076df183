"""The quadratic program of the min-norm point: the problem, and its solvers, one a file."""
