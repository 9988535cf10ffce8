"""One file per command: its help, its arguments, and the wiring of rooms; no logic.

A command module has a docstring (its help), ``add_arguments(parser)`` and ``run(args) -> exit code``. Heavy imports happen
inside ``run``, so that help is instant.
"""
