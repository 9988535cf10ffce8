"""What is minimised: modules that hold a model and return the loss of a batch as a sum (law 6)."""
