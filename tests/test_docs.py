"""What is written about the product against the product: the manuals' links and generated parts, the two API
descriptions."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from jsonschema import Draft202012Validator

from pairing_ws.app import create_app
from pairing_ws.config.environment import environment_name, file_variable, is_secret, load
from pairing_ws.config.settings import Settings
from pairing_ws.core.audit import EVENTS
from pairing_ws.core.errors import Code
from pairing_ws.pairing.machine import FINAL, TRANSITIONS, Status
from pairing_ws.web.call import ADMIN
from pairing_ws.web.calls import CALLS
from pairing_ws.web.close_codes import CloseCode
from pairing_ws.web.problems import SHAPES
from pairing_ws.webhooks.events import KINDS
from tests.support.admin import ADMIN_KEY

ROOT = Path(__file__).resolve().parent.parent
FOLDERS = ("pairing_ws", "scripts", "static", "tests")
MANUALS = sorted([*ROOT.glob("*.md"), *(path for each in FOLDERS for path in (ROOT / each).rglob("*.md"))])


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def part(manual: str, name: str) -> list[str]:
    """The lines between this name's two markers."""
    found = re.search(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", (ROOT / manual).read_text(), re.DOTALL)
    assert found, f"{manual} has no part called {name}"
    return found[1].splitlines()


def rows(manual: str, name: str) -> list[list[str]]:
    """A table's rows without its head."""
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in part(manual, name)[2:]]


def prose(manual: Path) -> str:
    """The text without its code blocks."""
    return re.sub(r"(?ms)^```.*?^```", "", manual.read_text())


def anchors(manual: Path) -> set[str]:
    """What `#…` may name there: a heading as hosts of Git repositories write it in an address."""
    headings = re.findall(r"(?m)^#+ (.+)$", prose(manual))
    return {re.sub(r"[^\w\- ]", "", each.lower()).strip().replace(" ", "-") for each in headings}


def test_the_settings_table_has_the_codes_names_defaults_and_words() -> None:
    expected = []
    for name, field in Settings.model_fields.items():
        if field.exclude:
            continue
        default = "" if field.default in ("", None, ()) else f"`{field.default}`"
        names = f"`{environment_name(name)}`" + (f" or `{file_variable(name)}`" if is_secret(name) else "")
        expected.append([names, default, field.description])
    assert [[cell.strip() for cell in row] for row in rows("scripts/deploy/README.md", "settings")] == expected


def test_the_diagram_of_states_has_every_transition_and_no_other() -> None:
    drawn = set()
    for line in part("pairing_ws/README.md", "states"):
        arrow = re.fullmatch(r"\s+(\w+) --> (\w+): (.+)", line)
        if arrow:
            drawn |= {(arrow[1], event, arrow[2]) for event in arrow[3].split(", ")}
    table = {(before.value, event.value, after.value) for (before, event), after in TRANSITIONS.items()}
    by_time = {(status.value, "time", "expired") for status in Status if status not in FINAL}
    assert drawn == table | by_time


def test_the_table_of_calls_has_those_of_the_code() -> None:
    assert [row[0] for row in rows("pairing_ws/web/README.md", "calls")] == [
        f"`{call.method} {call.path}`" for call in CALLS if ADMIN not in call.proofs
    ]
    assert [row[0] for row in rows("pairing_ws/web/README.md", "admin_calls")] == [
        f"`{call.method} {call.path}`" for call in CALLS if ADMIN in call.proofs
    ]


def test_the_way_over_from_j_framework_names_calls_and_statuses_that_are_there() -> None:
    _, _, guide = (ROOT / "pairing_ws/web/README.md").read_text().partition("\n## Coming from J Framework")
    ours = [row.split(" | ")[1] for row in guide.splitlines() if row.startswith("| ") and " | " in row]
    called = set(re.findall(r"`((?:GET|POST|DELETE) [^`]*)`", " ".join(ours)))
    assert called
    assert called <= {f"{call.method} {call.path}" for call in CALLS}
    _, _, statuses = guide.partition("**Statuses.**")
    table = [row.split(" | ")[1] for row in statuses.splitlines() if row.startswith("| ")]
    assert set(re.findall(r"`([a-z]+)`", " ".join(table))) == {str(status) for status in Status}
    # The codes of errors that it names.
    assert set(re.findall(r"409 `(\w+)`", guide)) <= {str(code) for code in Code}


def test_the_table_of_security_events_has_those_of_the_code() -> None:
    assert rows("scripts/deploy/README.md", "audit") == [[f"`{name}`", text] for name, text in EVENTS.items()]


@pytest.mark.parametrize("manual", MANUALS, ids=name_of)
def test_every_file_and_heading_that_a_manual_points_at_is_there(manual: Path) -> None:
    dead = []
    # An address on the web begins with its scheme.
    for file, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", prose(manual)):
        target = manual.parent / file if file else manual
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(f"{file}#{anchor}" if anchor else file)
    assert dead == []


async def test_the_readmes_example_serves_this_application_within_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Where it keeps its database and its keys.
    monkeypatch.chdir(tmp_path)
    example = re.search(r"(?ms)^```python\n(.*?)^```", (ROOT / "README.md").read_text())
    assert example
    names: dict[str, Any] = {"__name__": "example"}
    exec(example[1], names)
    app = names["app"]
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://app.example.com") as client,
    ):
        made = await client.post(
            "/login/api/v1/pairings", headers={"X-Device-Code": "a-tv-1234", "X-Device-Name": "TV"}
        )
    assert made.status_code == 201
    assert made.json()["qr"]["text"].startswith("https://app.example.com/login/pair/")


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_security_policy_stays_readable() -> None:
    lines = (ROOT / "SECURITY.md").read_text().splitlines()
    assert len(lines) <= 250
    assert [line for line in lines if len(line) > 120] == []


# /openapi.json and /asyncapi.json, as a client gets them


@pytest.fixture
async def documents(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("docs")
    settings = load().model_copy(
        update={
            "signing_key_file": folder / "keys.json",
            "database_url": f"sqlite:///{folder / 'pairing.db'}",
            "admin_key": ADMIN_KEY,
        }
    )
    app = create_app(settings)
    # No lifespan: the descriptions are there before any store is.
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost:8000") as client:
        found = {}
        for name in ("openapi", "asyncapi"):
            answer = await client.get(f"/{name}.json")
            assert answer.status_code == 200
            assert answer.headers["content-type"] == "application/json"
            found[name] = json.loads(answer.content)
    return found


@pytest.fixture
def openapi(documents: dict[str, Any]) -> dict[str, Any]:
    return dict(documents["openapi"])


@pytest.fixture
def asyncapi(documents: dict[str, Any]) -> dict[str, Any]:
    return dict(documents["asyncapi"])


def operations(openapi: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for each in node.values():
            yield from references(each)
    elif isinstance(node, list):
        for each in node:
            yield from references(each)


def resolved(document: dict[str, Any], reference: str) -> Any:
    assert reference.startswith("#/"), reference
    node: Any = document
    for step in reference.removeprefix("#/").split("/"):
        node = node[step.replace("~1", "/").replace("~0", "~")]
    return node


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_every_reference_of_a_description_leads_somewhere(documents: dict[str, Any], name: str) -> None:
    found = list(references(documents[name]))
    assert found
    for reference in found:
        assert resolved(documents[name], reference)


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_every_schema_of_a_description_is_a_schema_and_is_used(documents: dict[str, Any], name: str) -> None:
    schemas = documents[name]["components"]["schemas"]
    used = set(references(documents[name]))
    for schema_name, schema in schemas.items():
        Draft202012Validator.check_schema(schema)
        assert f"#/components/schemas/{schema_name}" in used


def patterns(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("pattern"), str):
            yield node["pattern"]
        for each in node.values():
            yield from patterns(each)
    elif isinstance(node, list):
        for each in node:
            yield from patterns(each)


def test_every_pattern_of_a_description_is_one_of_ecma_262(documents: dict[str, Any]) -> None:
    """JSON Schema says so: with the flag `u`, an escape that is Python's alone is a SyntaxError."""
    found = sorted(set(patterns(documents)))
    assert found
    program = "JSON.parse(require('fs').readFileSync(0)).forEach(each => new RegExp(each, 'u'))"
    tried = subprocess.run(
        ["node", "-e", program], input=json.dumps(found), text=True, capture_output=True, timeout=60, check=False
    )
    assert tried.returncode == 0, tried.stderr


def test_what_a_backend_sends_is_described_as_it_is_taken(openapi: dict[str, Any]) -> None:
    def parameters(method: str, path: str) -> dict[str, dict[str, Any]]:
        described = openapi["paths"][f"/api/v1/{path}"][method]["parameters"]
        return {each["name"]: each for each in described}

    assert parameters("get", "admin/activity")["after"]["schema"]["pattern"] == "^[0-9]{1,18}$"
    assert parameters("get", "admin/users")["after"]["schema"]["pattern"] == "^[A-Za-z0-9_-]{1,64}$"
    for path in ("admin/users/{id}/devices", "invites/accept"):
        of_device = parameters("post", path)
        for name in ("X-Device-Code", "X-Device-Name"):
            assert of_device[name]["required"] is True
            assert "authKey" not in of_device[name]["description"]
        assert "required" not in of_device["X-Os-Device"]
    assert "required" not in parameters("post", "pairings")["X-Device-Code"]


def test_the_openapi_document_is_of_the_version_it_says_and_names_what_it_needs(openapi: dict[str, Any]) -> None:
    assert openapi["openapi"].startswith("3.1.")
    assert openapi["info"]["title"]
    assert openapi["info"]["version"]
    known = {"openapi", "info", "servers", "paths", "webhooks", "components", "tags", "security", "externalDocs"}
    assert set(openapi) <= known
    assert all(path.startswith("/") for path in openapi["paths"])
    # What is described elsewhere.
    assert openapi["externalDocs"]["url"] == "http://localhost:8000/.well-known/openid-configuration"
    assert not [path for path in openapi["paths"] if path.startswith("/oauth/")]


def test_the_openapi_document_has_every_call(openapi: dict[str, Any]) -> None:
    described = {(method, path) for method, path, _ in operations(openapi)}
    assert {(call.method, call.path) for call in CALLS} <= described
    assert {("GET", path) for path in ("/healthz", "/readyz", "/metrics", "/.well-known/jwks.json")} <= described


def test_every_webhook_is_described_with_what_it_tells(openapi: dict[str, Any]) -> None:
    assert set(openapi["webhooks"]) == set(KINDS)
    for name, methods in openapi["webhooks"].items():
        schema = methods["post"]["requestBody"]["content"]["application/json"]["schema"]
        assert schema["properties"]["type"] == {"const": name}
        data = resolved(openapi, schema["properties"]["data"]["$ref"])
        assert " ".join(data["description"].split()) == methods["post"]["summary"]
        assert all(field["description"] for field in data["properties"].values()), name
        # Of the account nothing but its id, and of nobody an address.
        assert not {"ip", "username", "email", "displayName"} & set(data["properties"])


def test_every_operation_is_named_once_explained_and_answers_something(openapi: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(openapi)]
    assert len(set(names)) == len(names)
    for method, path, operation in operations(openapi):
        where = f"{method} {path}"
        assert operation["summary"], where
        assert any(status.startswith("2") for status in operation["responses"]), where
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d", status), where
            assert response["description"], where
            # A refusal is a problem document; 304 has no content.
            if not status.startswith("2") and status != "304":
                assert list(response["content"]) == ["application/problem+json"], where


def test_every_operations_parameters_fit_its_path_and_its_security_is_described(openapi: dict[str, Any]) -> None:
    for method, path, operation in operations(openapi):
        parameters = operation.get("parameters", [])
        keys = [(each["name"], each["in"]) for each in parameters]
        assert len(set(keys)) == len(keys), path
        assert {name for name, where in keys if where == "path"} == set(re.findall(r"\{(\w+)\}", path))
        for each in parameters:
            assert each["in"] in ("path", "query", "header")
            assert each["schema"]
            assert each.get("required") or each["in"] != "path"
            # These three are ignored as header parameters (OpenAPI 3.1, parameter object).
            assert each["name"].lower() not in ("accept", "content-type", "authorization")
        for requirement in operation.get("security", []):
            assert set(requirement) <= set(openapi["components"]["securitySchemes"])
        assert not (method == "GET" and "requestBody" in operation)


def test_every_call_names_its_own_refusals(openapi: dict[str, Any]) -> None:
    for call in CALLS:
        responses = openapi["paths"][call.path][call.method.lower()]["responses"]
        for code in (*call.refusals, Code.RATE_LIMITED, Code.UNAVAILABLE):
            assert f"`{code}`" in responses[str(SHAPES[code].status)]["description"], f"{call.path} {code}"


def test_every_code_has_a_status_a_title_and_a_close_code_that_clients_know() -> None:
    assert set(SHAPES) == set(Code)
    for shape in SHAPES.values():
        assert 400 <= shape.status < 600
        assert shape.title
        assert shape.close in set(CloseCode)


def test_the_asyncapi_document_has_both_sockets_their_messages_and_all_close_codes(asyncapi: dict[str, Any]) -> None:
    assert asyncapi["asyncapi"].startswith("3.")
    addresses = {channel["address"] for channel in asyncapi["channels"].values()}
    assert addresses == {"/api/v1/pairings/{id}/socket", "/api/v1/socket"}
    for channel in asyncapi["channels"].values():
        assert set(re.findall(r"\{(\w+)\}", channel["address"])) == set(channel.get("parameters", {}))
        for code in (1000, 1001, 1011, 1012, 1013, 4400, 4401, 4404, 4409):
            assert str(code) in channel["description"]
    for operation in asyncapi["operations"].values():
        assert operation["action"] in ("send", "receive")
        # An operation's messages are among its own channel's (AsyncAPI 3.0, operation object).
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def test_a_client_that_reads_the_generated_close_codes_stops_where_the_table_says_so() -> None:
    module = (ROOT / "static/client/close-codes.js").read_text()
    terminal = dict(re.findall(r"^  (\d+): '(\w+)',$", module, re.MULTILINE))
    assert terminal == {"4400": "bad_request", "4401": "unauthenticated", "4404": "not_found", "4409": "taken_over"}
    assert set(re.findall(r"^  (\w+): \d+, //", module, re.MULTILINE)) == {code.name for code in CloseCode}
    assert "SPREAD_CLOSE_CODES = [1001, 1012];" in module


# What a reader of the two documents finds beside names and shapes


def undescribed(schemas: dict[str, Any]) -> list[str]:
    """The schemas and fields of them that no sentence explains."""
    bare = [name for name, schema in schemas.items() if not schema.get("description")]
    for name, schema in schemas.items():
        bare += [f"{name}.{field}" for field, found in schema["properties"].items() if not found.get("description")]
    return bare


@pytest.mark.parametrize("name", ["openapi", "asyncapi"])
def test_every_schema_and_every_field_is_described(documents: dict[str, Any], name: str) -> None:
    schemas = documents[name]["components"]["schemas"]
    assert sum(len(schema["properties"]) for schema in schemas.values()) > 20
    assert undescribed(schemas) == []


def test_every_parameter_header_body_credential_and_tag_is_described(openapi: dict[str, Any]) -> None:
    components = openapi["components"]
    tags = {tag["name"]: tag["description"] for tag in openapi["tags"]}
    assert all(tags.values())
    assert all(each["description"] for each in components["securitySchemes"].values())
    assert all(each["description"] for each in components["headers"].values())
    assert all(each["description"] for each in openapi["servers"])
    for method, path, operation in operations(openapi):
        where = f"{method} {path}"
        assert set(operation["tags"]) <= set(tags), where
        assert all(each["description"] for each in operation.get("parameters", [])), where
        assert operation.get("requestBody", {"description": "none"})["description"], where


def test_every_problem_code_says_when_it_happens_and_is_shown(openapi: dict[str, Any]) -> None:
    examples = openapi["components"]["examples"]
    assert set(examples) == set(Code)
    problem = Draft202012Validator(openapi["components"]["schemas"]["Problem"])
    for code, example in examples.items():
        assert example["description"], code
        assert example["value"]["code"] == code
        problem.validate(example["value"])
    for method, path, operation in operations(openapi):
        for status, response in operation["responses"].items():
            for shown in response.get("content", {}).get("application/problem+json", {}).get("examples", {}):
                assert examples[shown]["value"]["status"] == int(status), f"{method} {path}"
                assert f"`{shown}`: {examples[shown]['description']}" in response["description"], f"{method} {path}"


def test_every_problem_code_can_be_met_somewhere(openapi: dict[str, Any]) -> None:
    text = json.dumps([openapi["paths"], openapi["info"]])
    assert [code for code in Code if f"`{code}`" not in text] == []


def test_every_answer_names_the_headers_that_it_has(openapi: dict[str, Any]) -> None:
    for call in CALLS:
        responses = openapi["paths"][call.path][call.method.lower()]["responses"]
        assert set(call.answer_headers) <= set(responses[str(call.status)].get("headers", {})), call.path
        assert "Retry-After" in responses["429"]["headers"], call.path
        assert "401" not in responses or "WWW-Authenticate" in responses["401"]["headers"], call.path
        assert ("304" in responses) == ("ETag" in call.answer_headers), call.path


def test_every_message_and_operation_of_the_sockets_is_described_and_its_examples_fit(
    asyncapi: dict[str, Any],
) -> None:
    for name, message in asyncapi["components"]["messages"].items():
        assert message["summary"], name
        schema = {"$ref": f"#/components/schemas/{name}", "components": asyncapi["components"]}
        for example in message.get("examples", []):
            Draft202012Validator(schema).validate(example["payload"])
    assert all(operation["summary"] for operation in asyncapi["operations"].values())
    for channel in asyncapi["channels"].values():
        assert channel["title"]
        assert all(each["description"] for each in channel.get("parameters", {}).values())
