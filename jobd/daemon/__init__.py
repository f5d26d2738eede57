"""The daemon as a process of the operating system: one at a time, detached, signalled, watched, asked."""
