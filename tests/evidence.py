"""Which tests show which requirement of SECURITY.md, which mitigation of RFC 10027 and which module of OpenID's Basic
plan, and whether they all passed.

A pytest plugin: `--evidence FILE` adds the marked tests that passed, in all their variants, to FILE, over several runs
if need be.
`python -m tests.evidence FILE` then fails if a row has no test, or one that did not pass. `scripts/docs` draws the
tables.
"""

import ast
import sys
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, cast

import pytest

from tests.conformance import MODULES

TESTS = Path(__file__).resolve().parent

REQUIREMENTS = {
    "1": "Ids, codes and secrets can't be guessed, and what a QR code says opens nothing",
    "2": "A scan is no consent",
    "3": "Of many accounts that claim one code, one wins; the others learn nothing",
    "4": "Approve, deny, cancel and time: one wins, and a final state is final in every process",
    "5": "One pairing logs in once, however many try and whatever Redis forgets",
    "6": "Nothing revives or rewrites a finished pairing",
    "7": "At the login the approver still has to be logged in and its account unlocked",
    "8": "No device approves itself, and nothing of one pairing is worth anything on another",
    "9": "No wake-up is lost, and only the store's clock decides about time",
    "10": "The approver sees what the server saw; to refuse, to report or to keep still is easy",
    "11": "Three wrong numbers end a pairing, and new pairings bring an account no new attempts",
    "12": "Typed codes: few wrong ones, one answer to all failures, and a number afterwards",
    "13": "A device that has just come in can neither let in nor lock out others",
    "14": "Refresh keys rotate, a stolen one ends the session, a lost answer doesn't",
    "15": "Forged, foreign and outdated tokens are refused; signing keys rotate without a restart",
    "16": "A revoked device is out of every process within seconds, its sockets and pairings too",
    "17": "What is stored opens nothing, and is compared in constant time",
    "18": "A device that brings another one's code inherits nothing; an account's devices are bounded",
    "19": "All other devices hear of a new one and can undo it; nobody is logged in as somebody else",
    "20": "Sockets and CORS are for named origins alone",
    "21": "No secret in addresses, logs, metrics, pushes or problem documents",
    "22": "What devices say of themselves is cleaned; every answer has safe headers",
    "23": "Reading changes nothing; ambiguous or oversized bodies are refused",
    "24": "Forwarded addresses count from named proxies alone, links never come from a request",
    "25": "Nothing malformed is a server error, a hang or a growing process",
    "26": "Everything is bounded, and closed rather than open while Redis is away or full",
    "27": "Sockets are bounded in size, number and time, and nobody waits for a slow one",
    "28": "A stopped process costs no device its login, and all do not return at once",
    "29": "A call that is aborted anywhere leaves nothing half done",
    "30": "SQLite and PostgreSQL hold under concurrency, and after a restart",
    "31": "Insecure settings do not start",
    "32": "Slow requests are cut off",
    "33": "No request costs more than 5 ms of CPU before it is authenticated or counted, whatever its bytes",
    "34": "Clients that don't read are cut off, connections are bounded, and a poll ends with its client",
    "35": "A signing key that is removed is dead in every process within 5 s",
    "36": "What a session may see ends with it within 5 s, on sockets, long polls and all that waits",
    "37": "Clocks of two servers may differ by 60 s, and no client's clock matters",
    "38": "One untrusted party can't speak in the product's voice, hide what the owner must see or shut others out",
    "39": "An answer to an application goes to its own registered address alone, and no request is answered by half",
    "40": "Nobody but the person in front of it says yes to an application",
    "41": "Nothing is sent to a private, loopback or metadata address because somebody has named it",
    "42": "No other site logs a person out; an application ends its own session alone",
    "43": "A device code counts once, for its own client; it logs no device in, and no store that is away ends it",
    "44": "Who lets an application in has compared its code and sees which it is, what it gets and what warns of it",
    "45": "A code, token or secret of an application is worth something to that application alone, and a code once",
    "46": "One kind of token is never taken for another, and an application's opens no call of ours",
    "47": "Parameters come once, in one form; secrets in a body or header, never in an address",
    "48": "What is bound to a key opens nothing without it, and what has ended for an application has ended everywhere",
    "49": "A proxy is told a person's name for their own login, at that host alone, while it lasts",
    "50": "A guarded route lets in nobody without a token that is for it, or without the key that this is bound to",
    "51": "A host application that is asked about logins is asked once, and nobody gets in past it or by its silence",
    "52": "A webhook is signed, goes to its receiver alone, in an account's order, once or more, and holds up nobody",
    "53": "An admin key opens its own calls alone, nothing else opens those; each is logged, a repeat makes no more",
    "54": "Another issuer's word logs in its own person alone, once, in the browser or device that it was given to",
}


class Mitigation(NamedTuple):
    """`answer` says how, or why not; `tested` is off only for what no test of ours can show."""

    title: str
    answer: str
    tested: bool = True


MITIGATIONS = {
    "6.1.1": Mitigation(
        "Establish proximity",
        "In part. The addresses of both devices are compared as the server saw them, and their countries if there is a"
        " GeoIP file; unless the network is the same, a number is asked for, or with `PAIRING_NETWORK_POLICY=deny` the"
        " claim refused. No radio: a browser has none that it may use for this.",
    ),
    "6.1.2": Mitigation(
        "Short-lived, timebound codes",
        "120 s to scan, 60 s to decide and to log in (both can be set), on the store's clock. With"
        " `PAIRING_QR_ROTATE_SECONDS` a picture is worth nothing 10 s after it was on show.",
    ),
    "6.1.3": Mitigation("One-time or limited-use codes", "One claim, one approval, one login; SQL is the judge."),
    "6.1.4": Mitigation(
        "Unique codes",
        "128 random bits each; a typed code is never given to two live pairings, and can be claimed by one account.",
    ),
    "6.1.5": Mitigation(
        "Content filtering",
        "No: operators of mail and chat can do it, this server sees neither. A link always begins with the public"
        " address followed by `/pair/` or `/join/`, which a filter can look for.",
        tested=False,
    ),
    "6.1.6": Mitigation(
        "Detect and remediate",
        "The approver is warned of another country and of many requests; reports hide an origin and close it where"
        " accounts agree; all devices hear of a new one, also by push; one call revokes it with all it let in; a key"
        " used twice ends its session.",
    ),
    "6.1.7": Mitigation(
        "Trusted devices",
        "No: a device that logs in here is new, that is the purpose. Where only managed devices may show a code, put"
        " the proxy's client certificates in front of `POST /pairings`.",
        tested=False,
    ),
    "6.1.8": Mitigation(
        "Trusted networks",
        "`PAIRING_NETWORK_POLICY=deny` lets a device in from the approver's own network alone; else another one is"
        " warned of. Which networks are trusted at all is for the reverse proxy to say.",
    ),
    "6.1.9": Mitigation(
        "Limited scopes",
        "In part: a new device is in quarantine for an hour and can neither approve nor revoke. What else it may do is"
        " the host application's, which finds `amr` and the device in the token.",
    ),
    "6.1.10": Mitigation(
        "Short-lived tokens", "An authKey lives ten minutes, a session 30 days unused and a year in all."
    ),
    "6.1.11": Mitigation(
        "Rate limits", "Per address, account and device, counted in Redis over all processes; without it closed."
    ),
    "6.1.12": Mitigation(
        "Sender-constrained tokens",
        "A new device that shows a key of its own (the pages do, where there is WebCrypto) proves it at login, at each"
        " refresh and with each authKey (DPoP, RFC 9449). Without one an authKey is a bearer token. Refresh keys rotate"
        " and a reused one ends its session; in browsers they are in a cookie that no script reads.",
    ),
    "6.1.13": Mitigation(
        "User education",
        "In place, where it is needed: the consent page names what a fake looks like, and a code of another site is"
        " named and not opened.",
    ),
    "6.1.14": Mitigation(
        "User experience",
        "Consent shows what was observed apart from what is claimed, refusing is as easy as allowing, a hasty press"
        " does nothing, and nobody is logged in before they have seen as whom.",
    ),
    "6.1.15": Mitigation(
        "Authenticated flow",
        "Where the logged-in device shows the code (flow 1), the device that starts has been authenticated; where the"
        " new device shows it, that is what it can't be yet.",
    ),
    "6.1.16": Mitigation(
        "Request initiation verification",
        "Three digits that the approving device shows and the person types on the new one: always, or unless both are"
        " on one network.",
    ),
    "6.1.17": Mitigation(
        "Request binding with out-of-band data",
        "No: nothing that a person types before the code is shown would be known to this server, which has accounts"
        " and no attributes. The number of 6.1.16 goes the other way.",
        tested=False,
    ),
}

ROWS: dict[str, dict[str, Any]] = {"security": REQUIREMENTS, "mitigation": MITIGATIONS, "conformance": MODULES}
Marks = dict[str, list[str]]


# What the tests say


@cache
def shown() -> dict[str, Marks]:
    """For each kind of row, and each row, the tests that are marked with it: `web/test_x.py::test_name`, or the file
    alone where all of it is."""
    found: dict[str, Marks] = {kind: {row: [] for row in rows} for kind, rows in ROWS.items()}
    for path in sorted(TESTS.rglob("test_*.py")):
        for test, marks in _marked(ast.parse(path.read_text()), str(path.relative_to(TESTS))):
            for kind, row in marks:
                if row not in found[kind]:
                    sys.exit(f"{test} names {kind} {row}, which is no row of tests/evidence.py")
                found[kind][row].append(test)
    return found


def _marked(module: ast.Module, name: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield f"{name}::{node.name}", [mark for each in node.decorator_list for mark in _rows_of(each)]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "pytestmark":
            yield name, [mark for each in ast.walk(node.value) for mark in _rows_of(each)]


def _rows_of(node: ast.AST) -> list[tuple[str, str]]:
    if not isinstance(node, ast.Call):
        return []
    kind = ast.unparse(node.func).removeprefix("pytest.mark.")
    return [(kind, str(ast.literal_eval(each))) for each in node.args] if kind in ROWS else []


# The tables of EVIDENCE.md, and of the manual of `/oauth`


def requirement_list() -> str:
    """Every requirement, as a list."""
    return "\n".join(f"{row}. {title}" for row, title in REQUIREMENTS.items())


def requirements() -> str:
    """Every requirement and the tests that show it."""
    tests = shown()["security"]
    rows = [f"| {row} | {title} | {_links(tests[row])} |" for row, title in REQUIREMENTS.items()]
    return "\n".join(["| | what must hold | shown by |", "|---|---|---|", *rows])


def mitigations() -> str:
    """Every mitigation of RFC 10027, section 6.1: how, or why not, and the tests that show it."""
    tests = shown()["mitigation"]
    rows = [
        f"| {row} | {each.title} | {each.answer} | {_links(tests[row]) or 'not tested'} |"
        for row, each in MITIGATIONS.items()
    ]
    return "\n".join(["| section | mitigation | here | shown by |", "|---|---|---|---|", *rows])


def conformance() -> str:
    """Every module of OpenID's Basic plan, the test that is named after it, and what it finds."""
    tests = shown()["conformance"]
    rows = [f"| `{row}` | {_links(tests[row], '../../../tests/')} | {found} |" for row, found in MODULES.items()]
    return "\n".join(["| module | test | result |", "|---|---|---|", *rows])


def _links(tests: list[str], folder: str = "") -> str:
    return "; ".join(f"[{_sentence(test)}]({folder}{test.partition('::')[0]})" for test in tests)


def _sentence(test: str) -> str:
    file, _, name = test.partition("::")
    return name.removeprefix("test_").replace("_", " ") if name else file


# What the run says


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--evidence", metavar="FILE", help="add the tests of SECURITY.md that passed to this file")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    marked = [item for item in items if any(item.get_closest_marker(kind) for kind in ROWS)]
    # Before any of them is deselected: a test has passed when all of its variants have.
    variants = Counter(map(_name, marked))
    for item in marked:
        # Reports have no markers' arguments; these travel with them, also from another process.
        item.user_properties.append(("evidence", (_name(item), variants[_name(item)])))


def _name(item: pytest.Item) -> str:
    return "::".join(item.nodeid.partition("[")[0].removeprefix("tests/").split("::")[:2])


class Recorder:
    """Where pytest-xdist is used, the process that hears from all others."""

    def __init__(self) -> None:
        # How many of its variants have yet to pass.
        self._left: dict[str, int] = {}
        self._lost: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, value in report.user_properties:
            if name == "evidence":
                test, variants = cast("tuple[str, int]", value)
                self._left.setdefault(test, variants)
                if not report.passed:
                    self._lost.add(test)
                elif report.when == "call":
                    self._left[test] -= 1

    def passed(self) -> list[str]:
        return [test for test, left in self._left.items() if not left and test not in self._lost]


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--evidence") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Recorder(), "evidence-recorder")


def pytest_unconfigure(config: pytest.Config) -> None:
    recorder = config.pluginmanager.get_plugin("evidence-recorder")
    if recorder:
        with Path(config.getoption("--evidence")).open("a") as file:
            file.writelines(f"{test}\n" for test in recorder.passed())


def missing(passed: set[str]) -> list[str]:
    """What keeps the tables from being true."""
    told = []
    for kind, marks in shown().items():
        for row, tests in marks.items():
            if not tests and not (kind == "mitigation" and not MITIGATIONS[row].tested):
                told.append(f"{kind} {row}: no test")
            demanded = [each for test in tests for each in tests_of(test)]
            told += [f"{kind} {row}: {test} has not passed" for test in demanded if test not in passed]
    return told


def tests_of(shown: str) -> list[str]:
    """The test itself, or all of the file: one that is skipped or not collected shows nothing."""
    if "::" in shown:
        return [shown]
    tests = [
        f"{shown}::{node.name}"
        for node in ast.parse((TESTS / shown).read_text()).body
        if (isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"))
        or (isinstance(node, ast.ClassDef) and node.name.startswith("Test"))
    ]
    return tests or [shown]


if __name__ == "__main__":
    complaints = missing(set(Path(sys.argv[1]).read_text().split()))
    print(*complaints, sep="\n", end="\n" if complaints else "")
    sys.exit(bool(complaints))
