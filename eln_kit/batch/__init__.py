"""Many notebooks or many runs at once: a params file through papermill, sweeps, and their reports."""
