"""A site's own MIBs: compiled in a process of its own into tables that name what traps carry.

`standard` stands in for the modules that every MIB imports, `compile` runs the compiler, `site` keeps what was added.
"""
