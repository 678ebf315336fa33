"""`demo`: everything on this machine, with real servers and real telemetry, within minutes."""

from stream_ae.cli.demo.command import demo, demo_images

__all__ = ["demo", "demo_images"]
