"""How a device that is not logged in introduces itself: `X-Device-Code`, `X-Device-Name` and their neighbours."""

import codecs
import re
from urllib.parse import unquote_to_bytes

from pairing_ws.core.devices import NewDevice
from pairing_ws.core.errors import Code, Refused
from pairing_ws.core.labels import MAX_READ, label
from pairing_ws.core.push_addresses import MAX_ADDRESS, checked
from pairing_ws.web.request.headers import RequestHeaders

DEVICE_CODE = re.compile(r"[A-Za-z0-9._:~=+/-]{1,128}")
# More than any label is read of, and than any code or push address has: a character may be four bytes, each as `%41`.
MAX_RAW_HEADER = 3 * max(4 * MAX_READ, MAX_ADDRESS + 1)
_utf_8 = codecs.getincrementaldecoder("utf-8")


def new_device(headers: RequestHeaders, ip: str, key_thumbprint: str, *, plain_http: bool) -> NewDevice:
    """The new device by its headers; `key_thumbprint` is "" without a `deviceKey`, `plain_http` as for `push_address`.

    Raises DEVICE_HEADERS_REQUIRED, and BAD_REQUEST for what can't be kept.
    """
    code, name = device_code(headers), label(_text(headers, b"x-device-name"))
    if not code or not name:
        raise Refused(Code.DEVICE_HEADERS_REQUIRED, "X-Device-Code and X-Device-Name are needed")
    return NewDevice(
        code=code,
        name=name,
        os=label(_text(headers, b"x-os-device")),
        app_version=label(_text(headers, b"x-app-version-number")),
        push_token=push_address(_text(headers, b"x-device-token"), plain_http=plain_http),
        ip=ip,
        user_agent=label(headers.first(b"user-agent")),
        key_thumbprint=key_thumbprint,
    )


def device_code(headers: RequestHeaders) -> str | None:
    """`X-Device-Code`; None if there is none. Raises BAD_REQUEST."""
    code = _text(headers, b"x-device-code").strip()
    if code and not DEVICE_CODE.fullmatch(code):
        raise Refused(Code.BAD_REQUEST, "X-Device-Code has to be 1 to 128 letters, digits or ._:~=+/-")
    return code or None


def push_address(text: str, *, plain_http: bool) -> str:
    """A push address as it is kept, or "" for none. `plain_http`: a subscription's endpoint needs no TLS. Raises
    BAD_REQUEST."""
    try:
        return checked(text, plain_http=plain_http) if text else ""
    except ValueError as error:
        raise Refused(Code.BAD_REQUEST, str(error)) from None


def _text(headers: RequestHeaders, name: bytes) -> str:
    """UTF-8, sent raw or percent-encoded. What is longer than anything that is kept is cut off before it is decoded."""
    raw = headers.raw(name)
    if raw.isascii() and b"%" not in raw:
        return raw[:MAX_RAW_HEADER].decode()
    read = unquote_to_bytes(raw[:MAX_RAW_HEADER])
    try:
        return _utf_8().decode(read, final=len(raw) <= MAX_RAW_HEADER)
    except UnicodeDecodeError:
        raise Refused(Code.BAD_REQUEST, f"{name.decode()} has to be UTF-8") from None
