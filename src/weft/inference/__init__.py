"""Answers from a model: loading the trained result of a configuration, batched generation, chat."""
