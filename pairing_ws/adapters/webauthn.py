"""WebAuthn's relying party, by py_webauthn: always with a verified user, for one origin and nobody's frame."""

from collections.abc import Sequence
from typing import Any

import structlog
from webauthn import (
    generate_authentication_options,
    generate_registration_options,
    verify_authentication_response,
    verify_registration_response,
)
from webauthn.helpers import base64url_to_bytes, options_to_json_dict, parse_client_data_json
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    AuthenticatorTransport,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from pairing_ws.accounts.passkeys import Passkey, RegisteredCredential
from pairing_ws.accounts.ports import User

log = structlog.get_logger()

# WebAuthn, section 4: what a credential id has at the most. A key of ours is far below this, an RSA one a little.
MAX_CREDENTIAL_ID = 1023
MAX_PUBLIC_KEY = 1024
REQUIRED = UserVerificationRequirement.REQUIRED


class WebAuthn:
    """`host` is the relying party's name, `timeout` in ms. See `accounts.passkeys.WebAuthnVerifier`."""

    def __init__(self, host: str, origin: str, timeout: int) -> None:
        self._rp_id = host
        self._origin = origin
        self._timeout = timeout

    def creation_options(self, user: User, known: Sequence[Passkey], challenge: bytes) -> dict[str, Any]:
        return options_to_json_dict(
            generate_registration_options(
                rp_id=self._rp_id,
                rp_name=self._rp_id,
                user_id=user.id.encode(),
                user_name=user.username,
                user_display_name=user.display_name,
                challenge=challenge,
                timeout=self._timeout,
                authenticator_selection=AuthenticatorSelectionCriteria(
                    resident_key=ResidentKeyRequirement.PREFERRED, user_verification=REQUIRED
                ),
                exclude_credentials=_descriptors(known),
            )
        )

    def request_options(self, known: Sequence[Passkey], challenge: bytes) -> dict[str, Any]:
        return options_to_json_dict(
            generate_authentication_options(
                rp_id=self._rp_id,
                challenge=challenge,
                timeout=self._timeout,
                allow_credentials=_descriptors(known),
                user_verification=REQUIRED,
            )
        )

    def verify_registration(self, credential: dict[str, Any], challenge: bytes) -> RegisteredCredential | None:
        try:
            self._refuse_frames(credential)
            verified = verify_registration_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                require_user_verification=True,
            )
            if len(verified.credential_id) > MAX_CREDENTIAL_ID or len(verified.credential_public_key) > MAX_PUBLIC_KEY:
                raise ValueError("longer than any authenticator's")
            return RegisteredCredential(
                verified.credential_id,
                verified.credential_public_key,
                verified.sign_count,
                ",".join(_known_transports(credential["response"].get("transports"))),
            )
        except Exception as error:
            _log(error)
            return None

    def credential_id(self, credential: dict[str, Any]) -> bytes:
        try:
            return base64url_to_bytes(credential["id"])
        except ValueError:
            return b""

    def verify_assertion(self, credential: dict[str, Any], challenge: bytes, public_key: bytes) -> int | None:
        try:
            self._refuse_frames(credential)
            verified = verify_authentication_response(
                credential=credential,
                expected_challenge=challenge,
                expected_rp_id=self._rp_id,
                expected_origin=self._origin,
                credential_public_key=public_key,
                # The store judges the count, in the step that writes it.
                credential_current_sign_count=0,
                require_user_verification=True,
            )
            return verified.new_sign_count
        except Exception as error:
            _log(error)
            return None

    def _refuse_frames(self, credential: dict[str, Any]) -> None:
        """The library does not look (WebAuthn 3, section 7.2, "crossOrigin"). Raises whatever is wrong."""
        client_data = parse_client_data_json(base64url_to_bytes(credential["response"]["clientDataJSON"]))
        if client_data.cross_origin:
            raise ValueError("asked for in another site's frame")


def _log(error: Exception) -> None:
    # What strangers send is parsed here, and fails in as many ways as CBOR, COSE and X.509 can.
    log.info("webauthn.refused", error=type(error).__name__)


def _descriptors(known: Sequence[Passkey]) -> list[PublicKeyCredentialDescriptor]:
    return [
        PublicKeyCredentialDescriptor(
            id=each.credential_id,
            transports=[AuthenticatorTransport(name) for name in _known_transports(each.transports.split(","))],
        )
        for each in known
    ]


def _known_transports(given: object) -> list[str]:
    names = {transport.value for transport in AuthenticatorTransport}
    return sorted(names & {each for each in given if isinstance(each, str)}) if isinstance(given, list) else []
