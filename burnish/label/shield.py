"""What every response carries and no request may exceed. Pure ASGI; knows no route."""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from burnish.label.language import spoken

LARGEST_BODY = 1024 * 1024
"""Bytes. Most forms have a few hundred; nine long answers written better, percent-encoded, have most of this."""
TOO_LONG = "This request is too long."
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


def _body_fits(scope: Scope) -> bool:
    """The server reads no more than the length that was announced; without one, only a bodiless method will do."""
    length = Headers(scope=scope).get("content-length")
    if length is None:
        return scope["method"] in ("GET", "HEAD")
    return length.isdigit() and int(length) <= LARGEST_BODY
