"""Model versions in MLflow, what shall run in Redis, and folders on disk in between."""

import os

# MLflow reads these when it is imported. It must not phone home, draw progress bars into our log, or copy the lock
# file of whatever project happens to be in the working directory into a model.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
