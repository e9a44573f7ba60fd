"""The commands of ``omote``, a small module each: a dataclass is the arguments, its ``run`` does the work.

These modules are imported for ``omote --help``: everything heavy is imported inside ``run``.
"""
