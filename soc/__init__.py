"""soc-toolkit: a Security Operations Center and log-analytics toolkit."""

__version__ = "0.1.0"
