"""From windows to a calibrated `Detector`."""
