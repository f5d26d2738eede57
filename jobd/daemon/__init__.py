"""The daemon as an operating-system process: lock, detaching, signals, systemd, control socket, reload."""
