"""Windows to a calibrated detector."""

from stream_ae.training.evaluate import Evaluation, evaluate
from stream_ae.training.fit import Epoch, Progress
from stream_ae.training.train import Trained, TrainingReport, train

__all__ = ["train", "Trained", "TrainingReport", "evaluate", "Evaluation", "Epoch", "Progress"]
