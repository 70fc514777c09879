"""The labelling server: the application, and running it on this machine. Knows errors and sockets; no question.

It listens on the loopback only: passwords travel as they are, and what encrypts them is not here yet.
"""

from __future__ import annotations

import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import uvicorn
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from burnish.errors import BurnishError, ConfigError, DataError, MachineError, Problem, StoreError
from burnish.label import (
    conduct,
    disputes,
    downloads,
    entry,
    lessons,
    log,
    oversight,
    overview,
    routes,
    service,
    settings,
    staff,
    talking,
    texts,
)
from burnish.label.answering import Answering
from burnish.label.desk import Desk, whole_address
from burnish.label.door import Door, is_loopback
from burnish.label.language import environment
from burnish.label.shield import Shield
from burnish.store.languages import languages
from burnish.store.session import Store, open_store
from burnish.store.views import Role

HERE = Path(__file__).parent
LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]", "::1"]
NOTICES = {
    401: ("You are signed out", "Sign in again on the first page. What you saved is kept."),
    403: (
        "This is not open to you",
        "Nothing was saved. Your role has not this right, or the form is of an older visit.",
    ),
    404: ("Nothing here", "This page, campaign or task does not exist, or is not yours."),
    405: ("Nothing here", "This page cannot be used in that way."),
}
FAILED = ("This did not work", "Nothing was saved.")
SETTLED = ("This one is settled", "It %(found)s.")
UNFIT = ("This cannot be saved", "Nothing was saved: %(found)s.")
NOT_SAVED = ("Not saved", "The task is still yours; please answer it again. (%(found)s)")
"""Titles and texts of pages that tell why there is no other. A text's `%(found)s` is what went wrong."""


def create_app(store: Store) -> FastAPI:
    """The labelling application over an open store."""
    here = [Depends(whole_address)]
    app = FastAPI(
        title="burnish", openapi_url=None, docs_url=None, redoc_url=None, dependencies=here, lifespan=_until_the_end
    )
    pages = environment(shown=texts.shown_here)
    templates, asking = Jinja2Templates(env=pages), Answering(store=store)
    app.state.desk = Desk(store=store, door=Door(store=store), templates=templates, answering=asking)
    for router in (
        entry.router,
        routes.router,
        talking.router,
        overview.router,
        oversight.router,
        disputes.router,
        log.router,
        conduct.router,
        lessons.router,
        settings.router,
        downloads.router,
        staff.router,
    ):
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=HERE / "static"))
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=LOOPBACK_NAMES)
    app.add_middleware(Shield)
    app.add_exception_handler(HTTPException, _http_notice)
    app.add_exception_handler(RequestValidationError, _no_such_page)
    app.add_exception_handler(BurnishError, _burnish_notice)
    return app


def serve(place: Path | str, host: str = "127.0.0.1", port: int = 8600) -> None:
    """Serve the labelling pages until interrupted; where nobody is an owner yet, prints a link for the first one.

    Port 0 takes any free one. Raises ConfigError for a host beyond this machine, MachineError for a port that is taken.
    """
    _refuse_beyond_loopback(host)
    with closing(open_store(place)) as store, _listen(host, port) as listening:
        address = _address(host, listening.getsockname()[1])
        token = service.invite_first_owner(store)
        if token is None:
            print(f"The labelling pages are at\n  {address}/", flush=True)
        else:
            print(f"Open this link to begin (it works once):\n  {address}/join?once={token}", flush=True)
        config = uvicorn.Config(create_app(store), log_level="warning", access_log=False)  # it would hold the token
        uvicorn.Server(config).run(sockets=[listening])


def link(store: Store, role: Role, reads: str, port: int, host: str = "127.0.0.1") -> str:
    """A link to the pages at this port that lets one person in. `reads` is a list of languages, empty for all."""
    return f"{_address(host, port)}/join?once={service.invite(store, role, languages=languages(reads))}"


@asynccontextmanager
async def _until_the_end(app: FastAPI) -> AsyncGenerator[None]:
    yield
    app.state.desk.answering.close()


def _address(host: str, port: int) -> str:
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


def _refuse_beyond_loopback(host: str) -> None:
    if not is_loopback(host):
        found = f'"{host}" can be reached from other machines, and passwords would travel there unencrypted'
        mend = "Use --host 127.0.0.1, and from elsewhere an SSH tunnel: ssh -L 8600:127.0.0.1:8600 THIS_MACHINE"
        raise ConfigError(Problem("host", found, mend))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, proto=socket.IPPROTO_TCP)  # named, or asyncio leaves Nagle's 40 ms a page on
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen()  # so that whoever opens the link before all is up waits, and is not refused
    except OSError as error:
        listening.close()
        found = f"port {port} on {host} cannot be opened ({error.strerror})"
        mend = "Give another one with --port, or 0 for any that is free."
        raise MachineError(Problem("port", found, mend)) from error
    return listening


def _notice(request: Request, status: int, title: str, text: str, problem: Problem | None = None) -> Response:
    desk: Desk = request.app.state.desk
    back = request.path_params.get("campaign") if status in (409, 503) else None
    return desk.page(request, "notice.html", status, title=title, text=text, problem=problem, back=back)


def _http_notice(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    title, text = NOTICES.get(status, FAILED)
    return _notice(request, status, title, text)


def _no_such_page(request: Request, _error: Exception) -> Response:
    """The only validated parameters are ids in the address."""
    return _notice(request, 404, *NOTICES[404])


def _burnish_notice(request: Request, error: Exception) -> Response:
    assert isinstance(error, BurnishError)
    if isinstance(error, StoreError):
        return _notice(request, 409, *SETTLED, error.problems[0])
    if isinstance(error, DataError):
        return _notice(request, 422, *UNFIT, error.problems[0])
    return _notice(request, 503, *NOT_SAVED, error.problems[0])
