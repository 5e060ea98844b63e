"""A directory of this machine: system calls, a tree that no key leads out of, its files in order, copies that nobody can change."""
