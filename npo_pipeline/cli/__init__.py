"""The command `npo`."""
