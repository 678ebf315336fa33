"""Every error of the project, grouped by what a worker does about it.

StreamAEError
├── ConfigError      refuse to start; the command line exits with 2
├── RecordError      one record is at fault: dead letter, go on
├── TransientError   the world is at fault: retry within a deadline, then degrade
│   ├── LockHeldError    somebody else is at it: leave it to them
│   └── DeliveryError    the broker did not acknowledge an output: nothing may be committed
│       └── TransactionError  the open transaction must be aborted and its inputs answered again
├── RestartError     only a fresh process can go on: exit with 75, a supervisor starts it again
├── ModelError       a model version is at fault: keep the old one
│   └── DigestError      the folder is not what was registered
├── TooManyDeadLetters   the topic is at fault: stop the worker before it is drained into the dead letters
└── InvariantError   our own bug: crash

A message says what is wrong (with the value), where, and what to do.
"""


class StreamAEError(Exception):
    """Root of the tree; catch it only at the top of a process."""


class ConfigError(StreamAEError):
    """Settings, addresses, topics or permissions are wrong: nothing was started."""


class RecordError(StreamAEError):
    """One record cannot be used. `reason` is a short stable word for headers and metrics."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class TransientError(StreamAEError):
    """A server did not answer in time or answered that it cannot just now."""


class LockHeldError(TransientError):
    """A named lock belongs to another process just now."""


class DeliveryError(TransientError):
    """An output was not acknowledged; its input must not be committed."""


class TransactionError(DeliveryError):
    """The open transaction cannot be committed; abort it, go back to the committed offsets and do its work again."""


class RestartError(StreamAEError):
    """Another process has this one's place, or Kafka or the device fails it for good; a fresh process can take over."""


class ModelError(StreamAEError):
    """A model version cannot be loaded or does not behave; the one in service stays."""


class DigestError(ModelError):
    """The content of a version folder differs from its recorded sha256."""


class TooManyDeadLetters(StreamAEError):  # noqa: N818  named for what happened, like StopIteration
    """More records could not be used than is allowed; nothing of their last batch was emitted or committed."""


class InvariantError(StreamAEError):
    """Something that cannot be has happened: a bug of this project. Please report it with the log."""
