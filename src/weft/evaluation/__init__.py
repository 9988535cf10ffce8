"""Scores of answers: metrics, summaries, reports. Knows no model, and never imports torch."""
