"""stream_ae: a streaming denoiser and anomaly detector."""
