"""What every response carries, and how no request may come. Pure ASGI; knows no route."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from burnish.label.language import spoken
from burnish.label.reach import is_loopback

LARGEST_BODY = 1024 * 1024
"""Bytes. Most forms have a few hundred; nine long answers written better, percent-encoded, have most of this."""
TOO_LONG = "This request is too long."
IN_THE_OPEN = "A password would travel unencrypted here. Open this page with https:// (a proxy says X-Forwarded-Proto)."
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",  # not no-referrer: browsers would then send "Origin: null" with our own forms
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",  # the back button asks again, and so never shows a task that was answered
}


class Shield:
    """Adds HEADERS to every response and refuses bodies of unknown or too great length."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_shielded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if scope["type"] == "http" and not _body_fits(scope):
            await PlainTextResponse(spoken(Request(scope)).say(TOO_LONG), 413)(scope, receive, send_shielded)
        else:
            await self.app(scope, receive, send_shielded)


class Envelope:
    """Refuses what another machine's browser asks for unencrypted, before it is shown a form for a password. It can, by
    a proxy that has a door for http too, or that does not say which of its doors was used."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["scheme"] == "http" and not is_loopback(Request(scope).url.hostname or ""):
            await PlainTextResponse(spoken(Request(scope)).say(IN_THE_OPEN), 403)(scope, receive, send)
        else:
            await self.app(scope, receive, send)


def _body_fits(scope: Scope) -> bool:
    """The server reads no more than the length that was announced; without one, only a bodiless method will do. A body
    in chunks says no length that counts, whatever else it says."""
    headers = Headers(scope=scope)
    length = headers.get("content-length")
    if "transfer-encoding" in headers:
        return False
    if length is None:
        return scope["method"] in ("GET", "HEAD")
    return length.isdigit() and int(length) <= LARGEST_BODY
