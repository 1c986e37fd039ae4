"""`pairing-ws`, and `python -m pairing_ws`: makes the process safe to stop and to write in, loads the command line and
hands over, nothing else."""

import os
import signal
import sys

from pairing_ws.server.startup import load


def main() -> None:
    # The kernel drops a signal to process 1 that has no handler; loading takes most of the first second. Nothing is
    # under way yet, and an exception could be lost in an import.
    signal.signal(signal.SIGTERM, lambda number, _: os._exit(0 if "serve" in sys.argv else 128 + number))
    _open_standard_streams()
    load("cli").main()


def _open_standard_streams() -> None:
    """One that is closed would become the number of the next file, the database perhaps, and be written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
            os.set_inheritable(number, True)
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


if __name__ == "__main__":
    main()
