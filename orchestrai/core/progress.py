"""How work in parts says how far it is."""

from collections.abc import Callable

# what is being done, how many parts of it are done, and how many there are
Progress = Callable[[str, int, int], None]
