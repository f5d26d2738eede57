"""Plugins and the tasks in them: where they are, what a function is called and takes, and which code was accepted."""
