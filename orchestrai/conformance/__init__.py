"""Suites that say what a plug-in must do, for pytest: each is a class that a package of its own subclasses (docs/plugins.md)."""
