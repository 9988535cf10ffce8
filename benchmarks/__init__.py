"""What weft's numbers are measured with: ``make bench-step`` for weft alone, ``make bench-peers`` against other trainers.

The parent process of either holds no more than the standard library, so that it neither computes nor remembers anything
while a trainer runs; every trainer runs in a fresh process of its own environment.
"""
