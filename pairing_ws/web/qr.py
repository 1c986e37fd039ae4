"""QR codes as SVG, as PNG and for a terminal. Drawing takes milliseconds of CPU: not on the event loop."""

import base64
import io
from typing import Any

import qrcode
from qrcode.constants import ERROR_CORRECT_M
from qrcode.image.pure import PyPNGImage
from qrcode.image.svg import SvgPathImage

QUIET_ZONE = 4
PNG_PIXELS_PER_MODULE = 8


def draw(text: str, kind: str) -> str:
    """Markup for "svg", a data URL for "png"; black on white, quiet zone included."""
    return _svg(text) if kind == "svg" else _png(text)


def _code(text: str) -> "qrcode.QRCode[Any]":
    code: qrcode.QRCode[Any] = qrcode.QRCode(
        error_correction=ERROR_CORRECT_M, border=QUIET_ZONE, box_size=PNG_PIXELS_PER_MODULE
    )
    code.add_data(text)
    code.make(fit=True)
    return code


def _svg(text: str) -> str:
    class WhiteGround(SvgPathImage):
        background = "white"

    return _code(text).make_image(image_factory=WhiteGround).to_string(encoding="unicode")


def _png(text: str) -> str:
    file = io.BytesIO()
    _code(text).make_image(image_factory=PyPNGImage).save(file)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"


def terminal(text: str) -> str:
    """For a person at a terminal: half blocks, inverted so that it scans on a dark ground."""
    file = io.StringIO()
    _code(text).print_ascii(out=file, invert=True)
    return file.getvalue()
