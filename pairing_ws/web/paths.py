"""Where the calls are, below the path that this application is mounted at."""

from starlette.types import Scope

API = "/api/v1"
OAUTH = "/oauth/"
FORWARD_AUTH = "/oauth/forward-auth"


def path_of(scope: Scope) -> str:
    """The request's path as this application sees it, wherever it is mounted: without the mount's own path."""
    return str(scope["path"]).removeprefix(scope.get("root_path", ""))
