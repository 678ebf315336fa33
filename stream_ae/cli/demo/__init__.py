"""`demo`: everything on this machine, with real servers and real telemetry, within minutes."""

from stream_ae.cli.demo.command import demo

__all__ = ["demo"]
