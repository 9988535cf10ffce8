"""What a run produced, in the form that other programs load."""
