"""Kinds of model: what is declared, fitted, kept as files and searched for."""
