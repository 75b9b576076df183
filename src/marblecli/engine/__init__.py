"""What any model is trained with, whatever it is: processes, shards, copies, optimizers."""
