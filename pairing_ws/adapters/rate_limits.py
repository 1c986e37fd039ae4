"""Rates per key: which there are, and what is said when one is used up. `SharedCounters` count them."""

from collections.abc import Mapping

from limits import RateLimitItem, parse

from pairing_ws.config.settings import Settings
from pairing_ws.core.errors import Code, Refused, Unavailable
from pairing_ws.core.ports import SharedCounters

# Rates that are no settings. An account's report hides an origin from it for a day, three accounts' reports within an
# hour, from as many addresses, close it for all, and a pairing is reported once. Renames leave a line in the activity,
# step-ups a challenge. The last two refuse nothing, they warn: who sets up phone, laptop, tablet and television asks
# four times; ten pages that are left open behind one address show sixty codes before they ask whether anybody is still
# there.
RATES = {
    "reported_by": "1/day",
    "reported_from": "1/day",
    "reported": "3/hour",
    "report": "1/day",
    "rename": "30/hour",
    "presence": "60/hour",
    "step_up": "60/hour",
    "asked": "5/hour",
    "origin": "60/hour",
}


def rules(settings: Settings) -> dict[str, str]:
    """Every rule's name and rate."""
    return {
        "create": settings.limit_create,
        "claim": settings.limit_claim,
        "nonce": settings.limit_claim,
        "user_code": settings.limit_user_code,
        "number": settings.limit_number,
        "refresh": settings.limit_refresh,
        "authorize": settings.limit_authorize,
        "oauth": settings.limit_oauth,
        "client": settings.limit_client,
        "client_failure": settings.limit_client_failure,
        "admin": settings.limit_admin,
        "admin_failure": settings.limit_admin_failure,
        **RATES,
    }


class RateLimits:
    """`rules`: name → rate such as `120/minute`, or "0" for none. See `ports.Limits`."""

    def __init__(self, rules: Mapping[str, str], counters: SharedCounters) -> None:
        self._rules: dict[str, RateLimitItem] = {name: parse(rate) for name, rate in rules.items() if rate != "0"}
        self._counters = counters

    async def hit(self, rule: str, key: str) -> None:
        """See `ports.Limits.hit`."""
        await self._ask(rule, key, counted=True)

    async def check(self, rule: str, key: str) -> None:
        """See `ports.Limits.check`."""
        await self._ask(rule, key, counted=False)

    async def _ask(self, rule: str, key: str, *, counted: bool) -> None:
        rate = self._rules.get(rule)
        if rate is None:
            return
        # A rate that the operator changes begins with nothing counted.
        name = f"limits:{rate.amount}/{rate.get_expiry()}:{rule}:{key}"
        try:
            wait_ms = await self._counters.count(name, rate.amount, rate.get_expiry() * 1000, counted=counted)
        except Unavailable as error:
            raise Unavailable("the rate limiter") from error
        if wait_ms:
            wait = max(1, round(wait_ms / 1000))
            raise Refused(Code.RATE_LIMITED, "too many requests; slow down", retry_after=wait)
