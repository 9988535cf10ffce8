"""The configuration: its keys (``schema``), how it is read (``load``), and the directories it names (``locate``).

From text to :class:`~weft.config.schema.Config`, in the order of the files:
``scalars`` → ``nodes`` (YAML 1.2 with line numbers) → ``layers`` (settings by canonical key) from ``files``,
``environment`` and ``command_line`` → ``values`` (types, ranges, values not acted on yet) → ``checks`` (between keys).
"""
