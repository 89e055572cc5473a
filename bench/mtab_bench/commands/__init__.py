"""The commands of ``mtab-bench``."""
