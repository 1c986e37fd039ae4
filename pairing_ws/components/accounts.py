"""Builds the story of accounts: sessions, devices, passkeys."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from importlib import import_module

from pairing_ws.accounts.admin_keys import AdminKeys
from pairing_ws.accounts.monitor import SessionMonitor
from pairing_ws.accounts.passkeys import WebAuthnVerifier
from pairing_ws.accounts.service import AccountService
from pairing_ws.accounts.step_up import CHALLENGE_MS, StepUpService
from pairing_ws.accounts.types import Policy
from pairing_ws.adapters.audit_log import audit
from pairing_ws.adapters.jwt.host_assertions import host_keys
from pairing_ws.adapters.login_hook import HttpLoginHook
from pairing_ws.adapters.sql.passkey_store import SqlPasskeys
from pairing_ws.adapters.sql.question_store import SqlQuestions
from pairing_ws.adapters.sql.user_store import SqlUsers
from pairing_ws.adapters.webhook_signature import WebhookSignatures
from pairing_ws.components.foundation import Foundation
from pairing_ws.core.devices import Approver


def login_hook(base: Foundation) -> HttpLoginHook | None:
    settings = base.settings
    if not settings.login_hook_url:
        return None
    signatures = WebhookSignatures(settings.login_hook_secret)
    return HttpLoginHook(settings.login_hook_url, signatures, base.targets, base.clock)


def account_service(
    base: Foundation,
    hook: HttpLoginHook | None,
    end_pairings: Callable[[Sequence[str]], Awaitable[None]],
    end_pairings_of_session: Callable[[Approver], Awaitable[None]],
) -> AccountService:
    settings = base.settings
    monitor = SessionMonitor(base.accounts, base.clock, end_pairings_of_session, settings.refresh_key_seconds * 1000)
    return AccountService(
        base.accounts,
        SqlUsers(base.database, base.events),
        base.backend.bus,
        base.limits,
        base.push,
        base.auth_keys,
        Policy(
            auth_key=settings.auth_key_seconds * 1000,
            refresh_key=settings.refresh_key_seconds * 1000,
            session=settings.session_seconds * 1000,
            refresh_repeat=settings.refresh_repeat_seconds * 1000,
            quarantine=settings.quarantine_seconds * 1000,
            device_limit=settings.limit_devices,
            step_up=settings.step_up_seconds > 0,
            public_url=settings.public_url,
        ),
        base.clock,
        base.random,
        end_pairings,
        monitor,
        base.keys.pepper,
        audit,
        (hook, SqlQuestions(base.database)) if hook else None,
    )


def admin_keys(base: Foundation) -> AdminKeys:
    return AdminKeys((base.settings.admin_key or "").splitlines(), base.limits, audit)


def step_up_service(base: Foundation, accounts: AccountService) -> StepUpService:
    settings = base.settings

    async def webauthn() -> WebAuthnVerifier:
        # Not needed before somebody has a passkey: 50 ms of a start. In a thread, where they hold up nobody.
        adapter = await asyncio.to_thread(import_module, "pairing_ws.adapters.webauthn")
        verifier: WebAuthnVerifier = adapter.WebAuthn(settings.public_host, settings.public_origin, CHALLENGE_MS)
        return verifier

    return StepUpService(
        SqlPasskeys(base.database, base.events),
        base.backend.bus,
        base.limits,
        accounts.devices,
        accounts.announce,
        webauthn,
        host_keys(settings, base.clock),
        settings.step_up_seconds * 1000,
        base.clock,
        base.random,
        audit,
    )
