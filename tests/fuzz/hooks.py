"""What Schemathesis has to know of this API beside its description. It loads this file by SCHEMATHESIS_HOOKS."""

import json
import os
import re
from typing import Any

import schemathesis
from schemathesis.core.failures import AcceptedNegativeData, Failure
from schemathesis.openapi.checks import IgnoredAuth, RejectedPositiveData

# Refusals of what fits the description: they depend on who asks, and on time.
ALLOWED = frozenset({"device_headers_required", "pairing_cancelled", "pairing_expired", "invite_expired"})
# A bad request is told so by the parser, which the description is made from, or by a rule that JSON Schema can't say.
BY_PARSER = re.compile(r"Expected |Object |Invalid |the body is not well-formed|.* whole number|.* is at most \d")

# Of sessions that nothing else is asked with, each good for one refresh.
REFRESH_KEYS = os.environ["FUZZ_REFRESH_KEYS"].split()


@schemathesis.hook
def map_query(context: schemathesis.HookContext, query: dict[str, object]) -> dict[str, object]:
    """A long poll would do what it promises: wait."""
    if query and str(query.get("wait", "")).isdigit() and int(str(query["wait"])) <= 30:
        query["wait"] = 0
    return query


@schemathesis.hook
def filter_case(context: schemathesis.HookContext, case: Any) -> bool:
    """Not the end of the very session that the rest is asked with."""
    return bool(case.method != "DELETE" or case.path_parameters.get("id") != os.environ["FUZZ_DEVICE"])


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: dict[str, object]) -> None:
    """Another one is logged out."""
    if case.path.endswith("/sessions/current") and case.headers.get("Auth-Key") == os.environ["FUZZ_KEY"]:
        case.headers["Auth-Key"] = os.environ["FUZZ_SPARE_KEY"]
    if case.path.endswith("/sessions/refresh") and case.method == "POST" and case.body == {} and REFRESH_KEYS:
        # The body that is made most often: without a key it would be the cookie's.
        case.body = {"refreshKey": REFRESH_KEYS.pop()}


@schemathesis.hook
def filter_failure(
    context: schemathesis.HookContext, failure: Failure, case: Any, response: schemathesis.Response
) -> bool:
    """Whether the contract calls it one too."""
    if case.path.endswith("/upstream/login") and "Got 404 when missing required" in failure.message:
        # Without a provider the call is closed, whatever came.
        return False
    if isinstance(failure, RejectedPositiveData):
        problem = json.loads(response.content)
        if problem["code"] == "bad_request":
            return BY_PARSER.match(problem.get("detail", "")) is not None
        return problem["code"] not in ALLOWED
    if isinstance(failure, IgnoredAuth):
        # A secret that does not fit looks like an unknown pairing, and who keeps a code may come with a new one.
        fits = "404 Not Found" in failure.message or case.path.endswith("/keep")
        return not (fits and "/pairings/{id}" in case.path)
    if isinstance(failure, AcceptedNegativeData):
        # With an authKey nobody looks at the headers of new devices.
        return "in header" not in failure.message or "Auth-Key" not in case.headers
    return True


@schemathesis.check
def every_answer_is_safe_and_every_refusal_a_problem(
    context: schemathesis.CheckContext, response: schemathesis.Response, case: Any
) -> None:
    assert response.headers["cache-control"]
    assert response.headers["x-content-type-options"] == ["nosniff"]
    if response.status_code >= 400:
        assert response.headers["content-type"] == ["application/problem+json"]
        problem = json.loads(response.content)
        assert problem["status"] == response.status_code
        assert {"type", "title", "code"} <= problem.keys()
