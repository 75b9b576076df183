"""The K rewards' gradients of a batch, by two backward passes or by plain ones."""
