"""Targets, one file or folder each. A backend takes a checked network without errors and gives text."""
