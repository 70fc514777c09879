"""The labelling server: the application, and running it on this machine. Knows errors; no question, and of where it is
reached only that `label.reach` knows it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import uvicorn
from anyio.to_thread import current_default_thread_limiter
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.staticfiles import StaticFiles
from fastapi.templating import Jinja2Templates
from starlette.exceptions import HTTPException
from starlette.middleware.trustedhost import TrustedHostMiddleware

from burnish.errors import BurnishError, DataError, Problem, StoreError
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
from burnish.label.door import Door
from burnish.label.language import environment
from burnish.label.reach import LOOPBACK_NAMES, PROXIES, Reach
from burnish.label.shield import Envelope, Shield
from burnish.store.languages import languages
from burnish.store.session import Store, open_store
from burnish.store.views import Role

HERE = Path(__file__).parent
THREADS = 8
"""Pages that are made at the same time. Python runs one thread at once, and each that waits for its turn again after
asking the database costs the others: with 40, a judgement takes a tenth more and above. But who waits for a lock of the
database has one too, and while all have, nobody is served."""
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


def create_app(store: Store, names: Sequence[str] = ()) -> FastAPI:
    """The labelling application over an open store, for who asks this machine or one of these hosts."""
    here = [Depends(whole_address)]
    app = FastAPI(
        title="burnish", openapi_url=None, docs_url=None, redoc_url=None, dependencies=here, lifespan=_serving
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
    app.add_middleware(Envelope)
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK_NAMES, *names], www_redirect=False)
    app.add_middleware(Shield)
    app.add_exception_handler(HTTPException, _http_notice)
    app.add_exception_handler(RequestValidationError, _no_such_page)
    app.add_exception_handler(BurnishError, _burnish_notice)
    return app


def serve(place: Path | str, reach: Reach = Reach()) -> None:
    """Serve the labelling pages until interrupted; where nobody is an owner yet, prints a link for the first one.

    Port 0 takes any free one. Raises ConfigError for a host or a certificate that will not do, MachineError for a port
    that is taken.
    """
    reach.check()
    reach.check_certificate()
    with closing(open_store(place)) as store, reach.listen() as listening:
        reach = replace(reach, port=listening.getsockname()[1])
        token = service.invite_first_owner(store)
        if token is None:
            print(f"The labelling pages are at\n  {reach.address}/", flush=True)
        else:
            print(f"Open this link to begin (it works once):\n  {_joining(reach, token)}", flush=True)
        uvicorn.Server(configured(create_app(store, reach.names), reach)).run(sockets=[listening])


def configured(app: FastAPI, reach: Reach) -> uvicorn.Config:
    """How the application is served."""
    return uvicorn.Config(
        app,
        http="h11",  # which bounds a request's headers; httptools takes as many as somebody sends
        log_level="warning",
        access_log=False,  # it would hold the tokens of links
        ssl_certfile=reach.certificate,
        ssl_keyfile=reach.key,
        forwarded_allow_ips=list(PROXIES),  # said here, or an environment could name others
    )


def link(store: Store, role: Role, reads: str, reach: Reach) -> str:
    """A link to the pages there that lets one person in. `reads` is a list of languages, empty for all."""
    reach.check()
    return _joining(reach, service.invite(store, role, languages=languages(reads)))


@asynccontextmanager
async def _serving(app: FastAPI) -> AsyncGenerator[None]:
    current_default_thread_limiter().total_tokens = THREADS
    pages = app.state.desk.templates.env
    for name in pages.list_templates(extensions=["html"]):
        pages.get_template(name)  # compiled now, or each of the first who come at once would have it compiled
    yield
    app.state.desk.answering.close()


def _joining(reach: Reach, token: str) -> str:
    return f"{reach.address}/join?once={token}"


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
