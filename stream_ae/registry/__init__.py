"""Model versions in MLflow, what shall run in Redis, and folders on disk in between."""

import os

# MLflow reads these when it is imported. It must not phone home, print links and draw progress bars
# into our output, or copy the lock file of whatever project is in the working directory into a model.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
os.environ.setdefault("MLFLOW_UV_AUTO_DETECT", "false")
