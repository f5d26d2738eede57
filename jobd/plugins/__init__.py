"""Plugins and their tasks: finding them, their names and arguments, and the snapshot of the accepted code."""
