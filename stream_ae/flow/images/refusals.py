"""Why a file is no frame, in the words that all kinds of files share."""

from stream_ae.errors import RecordError
from stream_ae.records import Reason


def damaged(kind: str, what: str) -> RecordError:
    """The file is whole, and something in it cannot be."""
    return RecordError(Reason.DAMAGED_IMAGE, f"the {kind} {what}: send the file as the camera wrote it")


def truncated(kind: str, what: str) -> RecordError:
    """The file ends before its end."""
    return RecordError(Reason.TRUNCATED_IMAGE, f"the {kind} ends too early ({what}): send the whole file")


def unsuitable(kind: str, what: str, advice: str) -> RecordError:
    """The file is fine, and of a kind that is not taken."""
    return RecordError(Reason.WRONG_FRAME, f"the {kind} {what}: {advice}")
