"""The embedded world: procedural 3-D scenes with exact ground truth, deterministic in their seed."""
