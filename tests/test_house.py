"""Who may import whom, and a few habits of the house: read from the source, nothing is run."""

import ast
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "pairing_ws"
TESTS = ROOT / "tests"
MODULES = sorted(PACKAGE.rglob("*.py"))
EVERY_FILE = sorted(each for folder in ("pairing_ws", "tests") for each in (ROOT / folder).rglob("*.py"))

TEST_FILES = {each.name for each in EVERY_FILE if each.name.startswith("test_")}

# What each room may know of the house beside itself. `components` and `cli` know nearly all, and none knows `cli`.
MAY_IMPORT = {
    "core": set(),
    "config": {"core"},
    "pairing": {"core"},
    "accounts": {"core"},
    "webhooks": {"core"},
    # On top of both: an application gets what a login of an account consented to, or a pairing approved.
    "oauth": {"core", "pairing", "accounts"},
    # What it makes of another issuer's word is a login of an account.
    "upstream": {"core", "accounts", "oauth"},
    "adapters": {"core", "config", "pairing", "accounts", "oauth", "upstream", "webhooks"},
    "web": {"core", "config", "pairing", "accounts", "oauth", "upstream", "webhooks"},
    "transport": {"core", "config", "web"},
    # In an application beside this server, or one that mounts it.
    "guard": {"core", "accounts", "oauth", "adapters"},
    "components": {
        "core",
        "config",
        "pairing",
        "accounts",
        "oauth",
        "upstream",
        "webhooks",
        "adapters",
        "guard",
        "web",
    },
    # It tells no story: what it runs, `components` built.
    "app": {"core", "config", "accounts", "adapters", "web", "components"},
    # For programs elsewhere: nothing of the server is in it.
    "client": set(),
    "server": {"core", "config", "web", "transport", "app"},
    "cli": {
        "core",
        "config",
        "pairing",
        "accounts",
        "oauth",
        "upstream",
        "adapters",
        "web",
        "components",
        "server",
        "client",
    },
    "__main__": {"server"},
    # Each public name, once it is asked for.
    "__init__": {"app", "config", "guard", "server"},
}
# The stories and what they share need neither a server nor a store: only values, counts, and the accounts' one seal.
STORIES_MAY_USE = {
    "core": {"msgspec"},
    "pairing": {"msgspec", "prometheus_client"},
    "accounts": {"msgspec", "prometheus_client", "cryptography"},
    "webhooks": {"msgspec", "prometheus_client"},
    # Authlib's grants are the protocol's core; they do no I/O of their own.
    "oauth": {"msgspec", "authlib"},
    # Other programs install what this needs.
    "client": {"httpx2", "websockets", "joserfc"},
    "upstream": {"msgspec"},
}
OURS = "pairing_ws"
STORIES = [each for each in MODULES if each.relative_to(PACKAGE).parts[0] in {*STORIES_MAY_USE} - {"core", "client"}]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def room_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def imports(path: Path) -> Iterator[str]:
    """Every module that is imported anywhere in the file, a name of ours with its room: `pairing_ws.web.http`."""
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}: a relative import hides the room it comes from"
            assert node.module
            if node.module == OURS:
                yield from (f"{OURS}.{each.name}" for each in node.names)
            else:
                yield node.module


def rooms(path: Path) -> set[str]:
    return {each.split(".")[1] for each in imports(path) if each.startswith(f"{OURS}.")}


def assert_right(paths: Iterable[Path], wrong: Callable[[Path], object]) -> None:
    """`wrong` finds nothing in any of these files. One test looks at all of them: a thousand tests took longer to
    collect than to run."""
    found = [f"{name_of(path)}: {what}" for path in paths if (what := wrong(path))]
    assert not found, "\n".join(found)


def test_a_module_knows_only_the_rooms_it_may_know() -> None:
    assert {room_of(path) for path in MODULES} <= set(MAY_IMPORT), "a new room: say here whom it may know"
    # `pairing_ws` itself holds the version.
    assert_right(MODULES, lambda path: rooms(path) - {"__version__", room_of(path)} - MAY_IMPORT[room_of(path)])


def test_a_story_and_what_it_shares_import_no_framework_no_driver_and_no_server() -> None:
    def foreign(path: Path) -> set[str]:
        named = {each.split(".")[0] for each in imports(path)} - set(sys.stdlib_module_names) - {OURS}
        return named - STORIES_MAY_USE[room_of(path)]

    assert_right((each for each in MODULES if room_of(each) in STORIES_MAY_USE), foreign)


def test_a_story_reads_no_clock_and_no_randomness_of_its_own() -> None:
    of_the_world = {"time", "datetime", "random", "secrets", "os", "uuid"}
    assert_right(STORIES, lambda path: of_the_world & {each.split(".")[0] for each in imports(path)})


@pytest.mark.security(17)
def test_digests_are_compared_in_constant_time_alone() -> None:
    """`codes.matches` does; `==` stops at the first difference."""

    def compared(path: Path) -> list[str]:
        operands = [
            ast.unparse(each)
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Compare) and any(isinstance(each, ast.Eq | ast.NotEq) for each in node.ops)
            for each in (node.left, *node.comparators)
        ]
        return [each for each in operands if "hash" in each or "digest" in each or "secret" in each]

    assert_right(STORIES, compared)


def test_the_environment_is_read_in_config_alone() -> None:
    def reads(path: Path) -> list[int]:
        return [
            node.lineno
            for node in ast.walk(tree(path))
            if isinstance(node, ast.Attribute)
            and node.attr in ("environ", "getenv", "environb")
            and isinstance(node.value, ast.Name)
            and node.value.id == "os"
        ]

    assert_right((path for path in MODULES if room_of(path) != "config"), reads)


def test_every_module_says_first_what_it_is() -> None:
    assert_right(MODULES, lambda path: not ast.get_docstring(tree(path)))


def test_every_test_file_says_first_what_may_live_in_it() -> None:
    tests = (each for each in EVERY_FILE if each.name.startswith("test_"))
    assert_right(tests, lambda path: not ast.get_docstring(tree(path)))


def test_what_tests_share_is_in_no_test_file() -> None:
    """Whoever edits a test would break another one, and an imported fixture or test is collected twice."""

    def named(path: Path) -> list[str]:
        froms = [node for node in ast.walk(tree(path)) if isinstance(node, ast.ImportFrom)]
        names = (
            part for node in froms for part in (*(node.module or "").split("."), *(each.name for each in node.names))
        )
        return [each for each in names if f"{each}.py" in TEST_FILES]

    assert_right((each for each in EVERY_FILE if TESTS in each.parents), named)


def test_nothing_is_called_utils() -> None:
    vague = {"util", "utils", "helpers", "common", "misc"}
    assert [name_of(each) for each in EVERY_FILE if each.stem in vague or each.parent.name in vague] == []
