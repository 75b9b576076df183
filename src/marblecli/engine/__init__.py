"""What any model is trained with: processes, shards, copies, checkpointing, optimizers."""
