"""The other side of the wire: what lives in a worker process. It knows plugins, and nothing of the daemon."""
