"""DPoP at OAuth's endpoints (RFC 9449): which key a request proves, in OAuth's own errors."""

from pairing_ws.core.errors import Code, Refused
from pairing_ws.oauth.errors import Error, OAuthError
from pairing_ws.oauth.types import ProvenKey
from pairing_ws.web.paths import path_of
from pairing_ws.web.request.context import RequestContext

_ERRORS = {Code.INVALID_PROOF: Error.INVALID_DPOP_PROOF, Code.USE_DPOP_NONCE: Error.USE_DPOP_NONCE}


def proven_key(request: RequestContext, *, status: int = 400) -> ProvenKey:
    """See `types.ProvenKey`. `status`: of its errors; 401 where the token is used, not issued."""

    async def prove(access_token: str | None) -> str | None:
        proofs = request.headers.all(b"dpop")
        if not proofs:
            return None
        request.has_key = True
        method, path = request.scope["method"], path_of(request.scope)
        try:
            thumbprint = request.services.proofs.thumbprint_of(proofs)
            await request.services.proofs.verify(proofs, method, path, thumbprint, access_token)
        except Refused as refused:
            if refused.code not in _ERRORS:
                raise
            raise OAuthError(
                _ERRORS[refused.code],
                refused.detail,
                status=status,
                challenge="DPoP" if status == 401 else "",
                nonce=refused.extra.get("nonce"),
            ) from None
        return thumbprint

    return prove
