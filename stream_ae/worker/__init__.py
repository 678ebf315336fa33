"""The shell around the flow: threads, signals, reloads, health."""
