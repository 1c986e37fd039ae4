"""What can go wrong with Redis: the errors that it answers with, by the code they begin with, and lost connections."""

from pairing_ws.core.errors import Unavailable


class RedisError(Exception):
    """Redis did not do what it was asked. OSError and TimeoutError are as good as one."""


class ConnectionLost(RedisError):
    """The connection ended, or the server can't be used over it just now: it loads its data, or has no room."""


class AuthenticationFailed(ConnectionLost):
    """A user or a password that the server does not take."""


class ReplyError(RedisError):
    """The server is there and refuses this command, which was not executed."""


class NoScript(ReplyError):
    """The server does not know the script of an EVALSHA."""


class ReadOnly(ReplyError):
    """The server is a replica."""


class ClusterDown(ReplyError):
    """No server is known to serve the key, or it can't be asked: its master is away."""


class Moved(ReplyError):
    """The key's slot lives on another server. `address` is that server's host and port. The host is empty if the
    server does not know it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        # SLOT HOST:PORT; an IPv6 host comes without brackets.
        host, _, port = text.partition(" ")[2].rpartition(":")
        self.address = (host, int(port))


class Ask(Moved):
    """For this one command, while the slot is on its way. The other server wants to hear ASKING first."""


_BY_CODE: dict[str, type[RedisError]] = {
    "ASK": Ask,
    "CLUSTERDOWN": ClusterDown,
    "LOADING": ConnectionLost,
    "MASTERDOWN": ClusterDown,
    "MOVED": Moved,
    "NOAUTH": AuthenticationFailed,
    "NOSCRIPT": NoScript,
    "READONLY": ReadOnly,
    "WRONGPASS": AuthenticationFailed,
}
_NO_ROOM = "max number of clients reached"


def error_of(reply: str) -> RedisError:
    """The error that a reply such as `MOVED 3999 10.0.0.1:6379` is. Raises ValueError if it can't be read."""
    code, _, text = reply.partition(" ")
    if code in _BY_CODE:
        return _BY_CODE[code](text)
    return ConnectionLost(text) if text == _NO_ROOM else ReplyError(text if code == "ERR" else reply)


class raising_unavailable:
    """Raises Unavailable in place of Redis's errors, which `RedisClient` has logged."""

    # Not by contextlib: a generator takes 1.7 µs instead of 0.4 on each trip.
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, RedisError | OSError | TimeoutError):
            raise Unavailable("the pairing store") from error
