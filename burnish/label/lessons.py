"""What a person is shown after each gold question of their training. Knows HTTP; when there is a lesson, `store.gold`
knows."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from burnish.errors import StoreError
from burnish.label import service
from burnish.label.desk import At, Found, Id, Judge

router = APIRouter()


@router.get("/campaigns/{campaign}/tasks/{task}/lesson")
def show_lesson(request: Request, at: At, who: Judge, campaign: Found, task: Id) -> Response:
    """The right order beside one's own. 404 alike for a task of somebody else, and for one that teaches nothing."""
    try:
        owner = service.task(at.store, task)
        lesson = service.lesson(at.store, task)
    except StoreError as error:
        raise HTTPException(404) from error
    if lesson is None or (owner.annotator, owner.campaign) != (who.person.id, campaign.id):
        raise HTTPException(404)
    return at.page(request, "lesson.html", campaign=campaign, lesson=lesson)
