"""What a training step costs in computation and memory, told from the configs of the networks alone: no weights."""
