"""`stream-ae` as a process: which error becomes which exit code, and what is printed of it."""

import signal
import sys
import traceback
from typing import NoReturn

from stream_ae.cli.app import app
from stream_ae.errors import ConfigError, InvariantError, RestartError, StreamAEError

FAILED = 1
CONFIGURATION = 2
# sysexits.h: a temporary failure, try again.
RESTART = 75


def main() -> NoReturn:
    """Run the command line and exit: 0 done, 1 failed, 2 usage or configuration, 75 start it again, 130 interrupted."""
    _clean_up_when_ended()
    try:
        app(prog_name="stream-ae")
    except ConfigError as error:
        _say(error)
        sys.exit(CONFIGURATION)
    except RestartError as error:
        _say(error)
        sys.exit(RESTART)
    except InvariantError:
        _report_bug()
    except StreamAEError as error:
        _say(error)
    except Exception:  # noqa: BLE001  # the top of the process: whatever is left is our own bug
        _report_bug()
    sys.exit(FAILED)


def _clean_up_when_ended() -> None:
    """SIGTERM and a closed terminal are Ctrl-C: by default they would leave temporary folders behind.

    Signals that the caller has switched off (nohup) stay off; a worker sets handlers of its own.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)


def _say(error: StreamAEError) -> None:
    print(f"stream-ae: error: {error}", file=sys.stderr)


def _report_bug() -> None:
    traceback.print_exc()
    print("stream-ae: this is a bug of stream-ae; please report it with the lines above", file=sys.stderr)
