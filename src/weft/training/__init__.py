"""From examples to a tuned model: the plan of steps, the loop, checkpoints, and the run directory they live in."""
