"""What a person is shown after each gold question of their training. Knows HTTP; when there is a lesson, `store.gold`
knows."""

from __future__ import annotations

from fastapi import APIRouter, HTTPException, Request, Response

from burnish.label import service
from burnish.label.desk import At, Found, Judge, OwnTask

router = APIRouter()


@router.get("/campaigns/{campaign}/tasks/{task}/lesson")
def show_lesson(request: Request, at: At, who: Judge, campaign: Found, task: OwnTask) -> Response:
    """What is right beside what one said. 404 alike for a task of somebody else, and for one that teaches nothing."""
    lesson = service.lesson(at.store, task.id)
    if lesson is None:
        raise HTTPException(404)
    return at.page(request, "lesson.html", campaign=campaign, lesson=lesson)
