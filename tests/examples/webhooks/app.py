"""An application that hears of what happens to accounts, and tells their owners. See README.md.

python app.py FILE_OF_THE_SECRET [PORT]
"""

import sys
from pathlib import Path
from typing import Any

import uvicorn
from standardwebhooks import Webhook, WebhookVerificationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

signed_by = Webhook(Path(sys.argv[1]).read_text().strip())
# What you have a database for: an event whose answer was lost comes again.
seen: set[str] = set()


def handle(kind: str, data: dict[str, Any]) -> None:
    """Take what you need, and pass over the rest. Anything slow belongs into a queue: answer first."""
    match kind:
        case "device.added":
            # A device chooses its name: `!r` keeps it in its line, as escaping does in HTML.
            mail(data["userId"], f"{data['deviceName']!r} is logged in to your account. Was that you?")
        case "pairing.reported":
            mail(data["userId"], "You reported a login. Here is what you can do.")
        case "user.locked" | "user.deleted":
            mail(data["userId"], "Your account is closed.")


def mail(user_id: str, text: str) -> None:
    print(f"to {user_id}: {text}", flush=True)


async def hooks(request: Request) -> Response:
    try:
        event = signed_by.verify(await request.body(), dict(request.headers))
    except WebhookVerificationError:
        return Response(status_code=401)
    webhook_id = request.headers["webhook-id"]
    if webhook_id not in seen:
        handle(event["type"], event["data"])
        seen.add(webhook_id)
    return Response(status_code=204)


app = Starlette(routes=[Route("/hooks", hooks, methods=["POST"])])

if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[2]) if len(sys.argv) > 2 else 4001, log_level="warning")
