"""What trained networks are worth: predictions, segmentation, and who finds their errors."""
