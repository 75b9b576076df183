"""Training: sampling, gradients, the step, the loop, evaluation and the probe."""
