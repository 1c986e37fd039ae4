"""A client for Python: it logs a program in by a QR code, and keeps it logged in. See README.md.

It stands by itself: nothing of the server is in it, and none of its settings.
"""

from pairing_ws.client.client import Client
from pairing_ws.client.device_key import DeviceKey
from pairing_ws.client.flow import log_in
from pairing_ws.client.problems import Problem
from pairing_ws.client.records import Device, Keys, NewPairing, Pairing
from pairing_ws.client.session import NotLoggedIn, Session
from pairing_ws.client.storage import KeyStore, Stored, UnsafeStorage, system_ring

__all__ = [
    "Client",
    "Device",
    "DeviceKey",
    "KeyStore",
    "Keys",
    "NewPairing",
    "NotLoggedIn",
    "Pairing",
    "Problem",
    "Session",
    "Stored",
    "UnsafeStorage",
    "log_in",
    "system_ring",
]
