"""What a run came to: its networks measured, its detectors compared, harm noticed."""
