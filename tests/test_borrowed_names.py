"""The fence around foreign insides: every private name of a library that the package uses, why, and what it must do.

What is not listed here is not used. What is listed has a test that fails when the library changes it. The libraries
that the package leans on have upper bounds in pyproject.toml.
"""

import ast
import asyncio
import importlib
import inspect
import re
import socket
import sys
import threading
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar, NamedTuple

import uvicorn
from packaging.requirements import Requirement

from tests.support.servers import wait_for

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "pairing_ws").rglob("*.py"))
MOST = 10


class Borrowed(NamedTuple):
    """`name` as the library has it, the file of ours that uses it, and why no public name does."""

    name: str
    file: str
    why: str


BORROWED: list[Borrowed] = []
# Names with an underscore that the standard library documents.
DOCUMENTED = {"_asdict", "_exit", "_fields", "_replace", "_value_"}
# Alembic alone can import it.
UNIMPORTABLE = {"pairing_ws/adapters/sql/migrations/env.py"}

# What the package leans on beyond a few documented calls, so that a new release is tried before it is taken.
BOUNDED = {
    "asyncpg", "hiredis", "httptools", "limits", "msgspec", "pydantic", "sqlalchemy", "starlette", "uvicorn",
    "uvloop", "websockets",
}  # fmt: skip


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def module_of(path: Path) -> ModuleType:
    return importlib.import_module(".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"))


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def imported(tree: ast.AST) -> dict[str, str]:
    """What the file has imported from others' packages: the name in the file, the name in the package."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {each.asname or each.name.partition(".")[0]: each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
    return {name: origin for name, origin in found.items() if not origin.startswith("pairing_ws")}


def accessed(tree: ast.AST) -> Iterator[str]:
    """Private names in imports, and private attributes, but of `self` and `cls`, that the file does not define."""
    own = {each.attr for each in ast.walk(tree) if isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store)}
    own |= {each.name for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)}
    own |= {
        each.target.id
        for each in ast.walk(tree)
        if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    }
    foreign = imported(tree)
    for origin in foreign.values():
        yield from (part for part in origin.split(".") if is_private(part))
    for node in ast.walk(tree):
        if not isinstance(node, ast.Attribute) or not is_private(node.attr):
            continue
        root = node.value
        while isinstance(root, ast.Attribute | ast.Call | ast.Subscript):
            root = root.func if isinstance(root, ast.Call) else root.value
        is_foreign = isinstance(root, ast.Name) and root.id in foreign
        is_self = isinstance(node.value, ast.Name) and node.value.id in ("self", "cls")
        if is_foreign or (not is_self and node.attr not in own):
            yield node.attr


def inherited(module: ModuleType) -> Iterator[str]:
    """Private names of foreign classes that their heirs in this module use or replace."""
    for own in vars(module).values():
        if not inspect.isclass(own) or own.__module__ != module.__name__:
            continue
        try:
            source = inspect.getsource(own)
        except (OSError, TypeError):
            # Made at run time, as msgspec's are where they are generic.
            continue
        used = set(re.findall(r"\bself\.(_[a-z]\w*)|def (_[a-z]\w*)\(", source))
        names = {name for pair in used for name in pair if name}
        for base in own.__mro__:
            package = base.__module__.partition(".")[0]
            if package != "pairing_ws" and package not in sys.stdlib_module_names:
                yield from names & private_names(base)


def private_names(foreign: type) -> set[str]:
    """That the class defines or sets on itself."""
    try:
        return set(re.findall(r"\b_[a-z]\w*", inspect.getsource(foreign)))
    except (OSError, TypeError):
        # Written in C.
        return {name for name in vars(foreign) if is_private(name)}


def test_no_private_name_of_a_library_is_used_but_those_listed_here() -> None:
    wrong = []
    for path in MODULES:
        listed = {
            part for each in BORROWED if each.file == name_of(path) for part in each.name.split(".") if is_private(part)
        }
        found = set(accessed(ast.parse(path.read_text())))
        if name_of(path) not in UNIMPORTABLE:
            found |= set(inherited(module_of(path)))
        if found - DOCUMENTED != listed:
            wrong.append(f"{name_of(path)}: {found - DOCUMENTED} is used, {listed or 'nothing'} is listed")
    assert not wrong, "\n".join(wrong)


def test_there_are_few() -> None:
    assert len(BORROWED) <= MOST
    assert all(each.why for each in BORROWED)


def requirements() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for each in [
        *project["dependencies"],
        *(one for many in project["optional-dependencies"].values() for one in many),
    ]:
        yield Requirement(each)


def locked() -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ]+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE))


def test_what_is_leaned_on_has_an_upper_bound() -> None:
    bounded = {each.name for each in requirements() if any(one.operator == "<" for one in each.specifier)}
    used = {each.name for each in requirements()}
    assert BOUNDED & used <= bounded
    assert used >= BOUNDED


def test_the_lock_holds_what_is_asked_for() -> None:
    versions = locked()
    for each in requirements():
        assert each.specifier.contains(versions[each.name]), each


def test_the_locks_name_no_index() -> None:
    for name in ("requirements.lock", "tests/requirements.lock"):
        assert "://" not in (ROOT / name).read_text(), name
    # Authors' addresses are in it.
    assert '"resolved"' not in (ROOT / "tests/javascript/package-lock.json").read_text()


# What each must do


class Told(asyncio.Protocol):
    """A protocol that notes what uvicorn's server gives to it and asks of it."""

    made: ClassVar[list["Told"]] = []
    was_shut_down = False

    def __init__(self, **given: Any) -> None:
        self.given = given
        self.made.append(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport
        self.given["server_state"].connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.given["server_state"].connections.discard(self)

    def shutdown(self) -> None:
        self.was_shut_down = True
        self.transport.close()


def test_uvicorn_makes_a_protocol_per_connection_by_these_arguments_and_shuts_it_down() -> None:
    """All that `pairing_ws.transport` knows of uvicorn's server. These names are public, but documented nowhere."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise NotImplementedError

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        config = uvicorn.Config(app, http=Told, ws=Told, lifespan="off", log_config=None)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_for(lambda: server.started, "the server")
        with socket.create_connection(listening.getsockname()):
            wait_for(lambda: Told.made and server.server_state.connections, "the connection")
            server.should_exit = True
            thread.join()
    (told,) = Told.made
    state = server.server_state
    assert told.given == {"config": config, "server_state": state, "app_state": {}, "_loop": None}
    assert told.was_shut_down
    assert (state.connections, state.tasks, state.total_requests) == (set(), set(), 0)
    assert [name for name, _ in state.default_headers] == [b"date", b"server"]
    assert config.ws_protocol_class is Told
    assert callable(config.loaded_app)
