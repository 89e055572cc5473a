"""The commands of ``mtab``, each in a module of its name."""
