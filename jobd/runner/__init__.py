"""The code of worker processes, at the other end of jobd.wire. It imports plugins, and no code of the daemon."""
