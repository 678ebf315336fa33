"""SIGTERM and SIGINT: the first asks for an orderly stop, a second one ends the process at once."""

import os
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGTERM, signal.SIGINT)
# No signal has this number: the watcher ends itself.
LEAVE = b"\0"


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """The event is set by the first signal; a second one exits with 128 + its number, without a commit.

    Python calls a signal's handler when the main thread next runs Python, which a commit to brokers that are away puts
    off for a minute. So the signals' numbers come through a socket that the interpreter fills at once, to a thread.
    """
    stop = threading.Event()
    reading, writing = socket.socketpair()
    writing.setblocking(False)
    watcher = threading.Thread(target=_watch, args=(reading, stop), name="signals")
    watcher.start()
    before_fd = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    before = {number: signal.signal(number, _left_to_the_watcher) for number in STOPPING}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(before_fd)
        writing.send(LEAVE)
        watcher.join()
        reading.close()
        writing.close()


def _watch(reading: socket.socket, stop: threading.Event) -> None:
    while (received := reading.recv(1)) != LEAVE:
        if received[0] not in STOPPING:
            continue
        if stop.is_set():
            os._exit(128 + received[0])
        stop.set()


def _left_to_the_watcher(number: int, frame: FrameType | None) -> None:
    """Without a handler in Python the interpreter would not fill the socket."""
