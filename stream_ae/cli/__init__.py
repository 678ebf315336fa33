"""The command line: the composition root. `app` lists every command, `entry` holds the error policy."""

from stream_ae.cli.entry import main

__all__ = ["main"]
