"""A process that has loaded the program and forks for each command that it is asked for: `forked.Loaded` starts it.

Its number of a socket is its argument. A message there is a JSON array of module, arguments, folder and environment,
with three descriptors: output, errors, and where to write the child's process id and exit code, a line each.
"""

import gc
import json
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from importlib import import_module

# What the commands load, also what they load only when they need it.
LOADS = (
    "pairing_ws.app", "pairing_ws.cli", "pairing_ws.server.worker", "tests.support.skewed", "alembic.command",
    "asyncpg", "hiredis", "httpx2", "qrcode", "sqlalchemy.dialects.postgresql.asyncpg", "sqlalchemy.ext.asyncio",
    "uvicorn", "uvloop", "webauthn",
)  # fmt: skip
MESSAGE_BYTES = 1 << 17


def fork_on_request(number: int) -> tuple[str, list[str]] | None:
    """Fork as often as asked. Returns in each child, what it is to run; and None when nobody can ask any more."""
    with socket.socket(fileno=number) as requests, selectors.DefaultSelector() as selector:
        selector.register(requests, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.data is None:
                    message, descriptors, _, _ = socket.recv_fds(requests, MESSAGE_BYTES, 3)
                    if not message:
                        return None
                    out, err, tell = descriptors
                    if not (child := os.fork()):
                        # Of its sisters: they would be heard of only when this one ends too.
                        for each in selector.get_map().values():
                            if each.data is not None:
                                os.close(each.fd)
                                os.close(each.data[1])
                        return _become(json.loads(message), out, err, tell)
                    os.write(tell, b"%d\n" % child)
                    os.close(out)
                    os.close(err)
                    selector.register(os.pidfd_open(child), selectors.EVENT_READ, (child, tell))
                else:
                    child, tell = key.data
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    _tell_end(tell, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))


def _tell_end(tell: int, code: int) -> None:
    try:
        os.write(tell, b"%d\n" % code)
    except BrokenPipeError:
        # Nobody wants to know.
        pass
    finally:
        os.close(tell)


def _become(
    command: tuple[str, list[str], str, dict[str, str]], out: int, err: int, tell: int
) -> tuple[str, list[str]]:
    """Whatever a process that was executed with these would have."""
    module, arguments, folder, environment = command
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(out, 1)
    os.dup2(err, 2)
    for each in (out, err, tell):
        os.close(each)
    os.chdir(folder)
    sys.path[0] = folder
    os.environ.clear()
    os.environ.update(environment)
    return module, arguments


def main() -> None:
    # As `startup.load` does: else each child copied all that a collection touches.
    gc.disable()
    for name in LOADS:
        import_module(name)
    gc.freeze()
    gc.enable()
    assert threading.active_count() == 1, "threads do not come along"
    # Ctrl-C is sent to all; those who asked for the children end them, and wait for their ends.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if become := fork_on_request(int(sys.argv[1])):
        module, sys.argv[1:] = become
        runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
