"""Layouts of folders that dictionaries are published in, a module for each library's."""
