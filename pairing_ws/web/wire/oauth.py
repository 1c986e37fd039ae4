"""What pages of ours and apps of ours say and hear about applications that a person logs in to."""

from typing import Annotated, Literal

from msgspec import Meta

from pairing_ws.oauth.authorization import MAX_QUERY
from pairing_ws.oauth.consent import Needs
from pairing_ws.web.wire.base import Json, Text


class AuthorizeRequest(Json):
    """An application's authorization request, and what the person says to it."""

    query: Annotated[
        Annotated[str, Meta(max_length=MAX_QUERY)],
        Meta(description="the request as it came to `/oauth/authorize`: its query string, without the `?`"),
    ]
    decision: Annotated[
        Literal["approve", "deny"] | None,
        Meta(description="what the person says to the question; absent: whether there is one"),
    ] = None
    started: Annotated[
        Text | None,
        Meta(description="what the page or the question before said; a fresh login counts only together with it"),
    ] = None


class AskingClient(Json):
    """An application."""

    id: Annotated[str, Meta(description="its `client_id`")]
    name: Annotated[str, Meta(description="its name for people, by the operator")]
    host: Annotated[str, Meta(description="where the person is sent on to", examples=["app.example.com"])]
    logo_uri: Annotated[str | None, Meta(description="its picture")] = None


class Question(Json):
    """What the person has to do before the application gets an answer."""

    needs: Annotated[
        Needs,
        Meta(
            description="`fresh_login`: log in again, or step up; `other_account`: log out, and in to the account that"
            " the application means; `consent`: say yes or no; `login` is for browsers that are not logged in"
        ),
    ]
    client: Annotated[AskingClient, Meta(description="who asks")]
    scopes: Annotated[list[str], Meta(description="what it gets after a yes")]
    missing: Annotated[list[str], Meta(description="those of them that the person has not let it have before")]
    started: Annotated[str, Meta(description="for the next call about this request")]


class Authorization(Json):
    """The answer to an authorization request: exactly one of the two."""

    redirect_to: Annotated[
        str | None,
        Meta(description="send the browser here, at once and once: the answer to the application, a refusal included"),
    ] = None
    question: Annotated[Question | None, Meta(description="the person's turn")] = None
