"""Around the core, for the command line: data made ready, other detectors, predictions and what they are good for."""
