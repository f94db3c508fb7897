"""A run folder and what lies in it: params, split, checkpoints, the lock."""
