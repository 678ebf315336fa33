"""Thin, one-shot entry points: `python -m jobs.retrain`, `python -m jobs.schedule`."""
