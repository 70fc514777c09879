"""What leaves the station as a file: a campaign's judgements, and what is kept about a person. Knows HTTP; what is in
an export, `label.export` knows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse
from markupsafe import Markup
from starlette.background import BackgroundTask

from burnish.errors import BurnishError, DataError, Problem, Said, StoreError
from burnish.label import service
from burnish.label.desk import At, Desk, Found, Id, Manager, SignedForm, Who
from burnish.label.forms import whole
from burnish.label.texts import shown
from burnish.store.views import Annotator

router = APIRouter()
MOST_HELD_OUT = 99
"""Per cent."""
SEEDS = 9999
LONGEST_LICENCE = 100
LONGEST_ROW = 4000
"""Characters of a row that are shown before a download."""


@router.get("/exports")
def show_exports(request: Request, at: At, who: Manager) -> Response:
    """A form for each campaign."""
    return _page(request, at)


@router.get("/exports/{campaign}")
def show_preview(request: Request, at: At, who: Manager, campaign: Found) -> Response:
    """The first rows of each form. Nothing is frozen, and the log has no line of it."""
    forms = service.export_forms(campaign)
    rows = [(form, forms[form], map(_row, found)) for form, found in service.export_preview(at.store, campaign).items()]
    judged = service.progress(at.store, campaign.id).judged
    return at.page(request, "preview.html", campaign=campaign, forms=rows, judged=judged)


@router.post("/exports/{campaign}")
def export(request: Request, at: At, who: Manager, form: SignedForm, campaign: Found) -> Response:
    """A campaign's judgements as they stand now, as one zip. It is made aside and removed when it was sent."""
    aside = mkdtemp(prefix="burnish-export-")
    try:
        made = service.export_zip(
            at.store,
            campaign,
            aside,
            form=form.get("form", ""),
            held_out=whole(form, "held_out", MOST_HELD_OUT) / 100,
            seed=whole(form, "seed", SEEDS),
            licence=_licence(form.get("licence", "")),
            by=who.person,
        )
    except BaseException as error:
        rmtree(aside)
        if isinstance(error, BurnishError):
            return _page(request, at, 422, error=error.problems[0], wrong=campaign.id)
        raise
    return FileResponse(made, filename=made.name, background=BackgroundTask(rmtree, aside))


@router.post("/people/{person}/data")
def data_of(at: At, who: Manager, form: SignedForm, person: Id) -> Response:
    """All that is kept about one person, for a manager to hand to them."""
    try:
        return _data(at, service.person(at.store, person), who.person)
    except StoreError as error:
        raise HTTPException(404) from error


@router.post("/me/data")
def own_data(at: At, who: Who, form: SignedForm) -> Response:
    """All that is kept about whoever asks."""
    return _data(at, who.person, who.person)


def _data(at: Desk, person: Annotator, by: Annotator) -> Response:
    found = service.data_of(at.store, person, by=by)
    head = {"Content-Disposition": f'attachment; filename="burnish-person-{person.id}.json"'}
    text = json.dumps(found, ensure_ascii=False, indent=2)
    return Response(text, media_type="application/json", headers=head)


def _row(row: Mapping[str, Any]) -> Markup:
    """A row as it is written, but with a line for each field."""
    lines = ",\n".join(f"  {json.dumps(name)}: {json.dumps(said, ensure_ascii=False)}" for name, said in row.items())
    text = f"{{\n{lines}\n}}"
    return shown(text if len(text) <= LONGEST_ROW else f"{text[:LONGEST_ROW]}…", written=True)


def _page(request: Request, at: Desk, status: int = 200, **context: Any) -> Response:
    found = service.campaigns(at.store)
    rows = [(each, service.progress(at.store, each.id).judged, service.export_forms(each)) for each in found]
    forms = {form: says for _, _, each in rows for form, says in each.items()}
    limits = {"most": MOST_HELD_OUT, "seeds": SEEDS, "longest": LONGEST_LICENCE}
    return at.page(request, "exports.html", status, rows=rows, forms=forms, **limits, **context)


def _licence(text: str) -> str:
    if len(text) > LONGEST_LICENCE:
        raise DataError(Problem("licence", Said("the licence has more than %(most)s characters", most=LONGEST_LICENCE)))
    return text.strip() or "unknown"
