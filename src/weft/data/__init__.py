"""From files to examples: reading records, preparing them, printing them through a template, and storing their ids.

Nothing in this room loads torch or transformers.
"""
