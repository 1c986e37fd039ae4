"""The modules of OpenID's Basic plan (`oidcc-basic-certification-test-plan`), in its order, and what the tests find
that are named after them. `evidence.py` knows which test is whose; `scripts/docs` draws the table."""

PASSED = "passes"
TWICE_TOLD = "passes; the suite would warn that the id_token tells the address too"
NOT_KNOWN = "passes; the suite would warn of claims that nothing is known of"
NOT_SUPPORTED = "refused by its own word, as the suite allows"
NOT_OFFERED = "not offered, as the suite allows"

MODULES = {
    "oidcc-server": PASSED,
    "oidcc-response-type-missing": PASSED,
    "oidcc-idtoken-signature": PASSED,
    "oidcc-idtoken-unsigned": NOT_OFFERED,
    "oidcc-userinfo-get": PASSED,
    "oidcc-userinfo-post-header": PASSED,
    "oidcc-userinfo-post-body": PASSED,
    "oidcc-ensure-request-without-nonce-succeeds-for-code-flow": PASSED,
    "oidcc-scope-profile": NOT_KNOWN,
    "oidcc-scope-email": TWICE_TOLD,
    "oidcc-scope-address": NOT_KNOWN,
    "oidcc-scope-phone": NOT_KNOWN,
    "oidcc-scope-all": f"{NOT_KNOWN}, and that the id_token tells the others too",
    "oidcc-ensure-other-scope-order-succeeds": f"{TWICE_TOLD}. Newer suites: `oidcc-alternate-happy-flow`",
    "oidcc-display-page": PASSED,
    "oidcc-display-popup": PASSED,
    "oidcc-prompt-login": PASSED,
    "oidcc-prompt-none-not-logged-in": PASSED,
    "oidcc-prompt-none-logged-in": PASSED,
    "oidcc-max-age-1": PASSED,
    "oidcc-max-age-10000": PASSED,
    "oidcc-ensure-request-with-unknown-parameter-succeeds": PASSED,
    "oidcc-id-token-hint": PASSED,
    "oidcc-login-hint": PASSED,
    "oidcc-ui-locales": PASSED,
    "oidcc-claims-locales": PASSED,
    "oidcc-ensure-request-with-acr-values-succeeds": PASSED,
    "oidcc-codereuse": PASSED,
    "oidcc-codereuse-30seconds": PASSED,
    "oidcc-ensure-registered-redirect-uri": PASSED,
    "oidcc-ensure-post-request-succeeds": PASSED,
    "oidcc-server-client-secret-post": PASSED,
    "oidcc-request-uri-unsigned-supported-correctly-or-rejected-as-unsupported": NOT_SUPPORTED,
    "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported": NOT_SUPPORTED,
    "oidcc-claims-essential": "passes; the suite would warn that `name` comes by its scope alone",
    "oidcc-ensure-request-object-with-redirect-uri": PASSED,
    "oidcc-refresh-token": PASSED,
    "oidcc-ensure-request-with-valid-pkce-succeeds": PASSED,
}
