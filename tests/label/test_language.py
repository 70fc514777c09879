"""The languages of the pages: every text is in every file, and pages speak the one that was chosen."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_args

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from jinja2.ext import extract_from_ast

from burnish.errors import Problem, Said
from burnish.label import app as server
from burnish.label import desk, door, forms, language, shield, talking
from burnish.label.assistance import TITLES, VERDICTS
from burnish.label.export import FORMS
from burnish.label.language import ENGLISH, LANGUAGES, environment
from burnish.store.details import FLAGS, STRENGTHS
from burnish.store.session import Store
from burnish.store.views import ROLES, AnnotatorKind

from .conftest import Browser

PACKAGE = Path(language.__file__).parents[1]
TEMPLATES = sorted((PACKAGE / "label/templates").glob("*.html"))
SCRIPT = PACKAGE / "label/static/keys.js"
ACTS = tuple(
    f"{area}/{module}"
    for area, modules in {
        "label": "conduct door downloads forms passwords staff talking",
        "store": "assistance conversations events gold languages people settings settlements tasks",
    }.items()
    for module in modules.split()
)
"""Modules whose refusals a person can meet on a page. `store/kinds` has further ones, for programs; see PAGES_ONLY."""
PAGES_ONLY = {"store/kinds": "DataError"}
TABLES = (
    *forms.SKIPS.values(),
    *FLAGS.values(),
    *STRENGTHS.values(),
    *FORMS.values(),
    *TITLES.values(),
    *(text for verdicts in VERDICTS.values() for text in verdicts),
    *talking.FAILURES.values(),
    *ROLES,
    *(kind for kind in get_args(AnnotatorKind) if kind != "person"),
    *(text for notice in server.NOTICES.values() for text in notice),
    *(*server.FAILED, *server.SETTLED, *server.UNFIT, *server.NOT_SAVED),
    *(door.WRONG, door.LOCKED, shield.TOO_LONG, shield.IN_THE_OPEN),
    *("all", "no language", "did not pass the training, and has no gold question left to try"),
)
"""Texts that stand in tables and not in a call. The last line is `label.agreement`'s and `label.alarms`'."""
INNER = "f'there is no task {task} here'"
"""What a page turns into a plain 404."""
PLACE = re.compile(r"%\(\w+\)s|%%|\{\w+\}|<[^>]+>")
others = pytest.mark.parametrize("code", [code for code in LANGUAGES if code != "en"])


def in_templates() -> set[str]:
    trees = [environment().parse(file.read_text(encoding="utf-8")) for file in TEMPLATES]
    found = (message for tree in trees for _, _, message in extract_from_ast(tree, ("_",)))
    return {text for each in found if (text := each if isinstance(each, str) else (each or ("",))[0])}


def constants(tree: ast.AST) -> Iterator[str]:
    """The texts that an argument may be: a constant, one in `Said`, or either of two."""
    match tree:
        case ast.Constant(value=str(text)):
            yield text
        case ast.Call(func=ast.Name(id="Said"), args=[ast.Constant(value=str(text)), *_]):
            yield text
        case ast.IfExp(body=one, orelse=other):
            yield from (*constants(one), *constants(other))
        case ast.JoinedStr():
            assert ast.unparse(tree) == INNER, "it is put together where no page can translate it: use Said"
        case _:
            pass


def in_python() -> set[str]:
    """The texts of every Said of the package, and of the problems that a person can meet."""
    found: set[str] = set()
    for area in ("label", "store"):
        for file in (PACKAGE / area).rglob("*.py"):
            calls = [
                each for each in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(each, ast.Call)
            ]
            said = [each for each in calls if isinstance(each.func, ast.Name) and each.func.id == "Said"]
            found |= {text for call in said for text in constants(call)}
    for name in (*ACTS, *PAGES_ONLY):
        tree = ast.parse((PACKAGE / f"{name}.py").read_text(encoding="utf-8"))
        found |= set(problems(tree, PAGES_ONLY.get(name, "Error")))
    return {text for text in found if text}


def problems(tree: ast.AST, error: str) -> Iterator[str]:
    """What `Problem`s in calls of such an error say, at once or through a name that was given just before."""
    named = [each for each in ast.walk(tree) if isinstance(each, ast.Assign) and isinstance(each.targets[0], ast.Name)]
    for call in ast.walk(tree):
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id.endswith(error):
            for problem in call.args:
                for said in problem.args[1:] if isinstance(problem, ast.Call) else []:
                    yield from constants(said)
                    if isinstance(said, ast.Name):
                        for each in named:
                            if each.targets[0].id == said.id:  # pyright: ignore[reportAttributeAccessIssue]
                                yield from constants(each.value)


def every_text() -> set[str]:
    return in_templates() | in_python() | set(TABLES)


@others
def test_every_text_is_there_and_no_other(code: str):
    wanted, found = every_text(), set(LANGUAGES[code].texts)
    assert (wanted - found, found - wanted) == (set(), set()), "without a translation; used nowhere"


@others
def test_places_and_tags_are_those_of_the_english_text(code: str):
    for english, text in LANGUAGES[code].texts.items():
        translated = re.sub("<kbd>Intro</kbd>", "<kbd>Enter</kbd>", text)
        assert sorted(PLACE.findall(translated)) == sorted(PLACE.findall(english)), english
        assert '"' not in PLACE.sub("", text), f"{text}: it may stand in an attribute"
        assert text.strip() == text != "", english


def test_templates_have_no_text_beside(tmp_path: Path):
    """Letters between tags, and in the attributes that people read or hear, stand in `_`."""
    kept = {"burnish", "n ="}
    for file in TEMPLATES:
        source = re.sub(r"{#.*?#}|{%.*?%}|{{.*?}}", "\0", file.read_text(encoding="utf-8"), flags=re.DOTALL)
        shown = re.sub(r"<(script|kbd)[^>]*>[^<]*</\1>", "", source)
        beside = re.findall(r">([^<]*)<", shown) + re.findall(r'(?:aria-label|placeholder|title|alt)="([^"]*)"', source)
        texts = {part.strip(" ·\n,;:.()%") for each in beside for part in each.split("\0")}
        assert {text for text in texts if re.search("[A-Za-z]", text)} <= kept, file.name


def test_the_script_has_its_words_from_the_page():
    script, page = SCRIPT.read_text(encoding="utf-8"), (PACKAGE / "label/templates/_task.html").read_text("utf-8")
    given = set(re.findall(r'^  "(\w+)": _\(', page, flags=re.MULTILINE))
    assert set(re.findall(r"\bwords\.(\w+)", script)) == given
    assert re.findall(r'\bsay\("|textContent = "|title = "', script) == []


def test_a_sentence_says_itself_in_english_and_through_pickle():
    said = Said(
        "give a place to %(answers)s", answers=(Said("answer %(place)s", place=1), Said("answer %(place)s", place=2))
    )
    assert said == "give a place to answer 1, answer 2"
    assert Said("%(most)s are kept", most=20_000) == "20,000 are kept"
    again = pickle.loads(pickle.dumps(said))  # as an error that another process raised
    assert LANGUAGES["de"].say(again) == LANGUAGES["de"].say(said) == "es fehlt ein Platz für Antwort 1, Antwort 2"


def test_numbers_and_sentences_are_those_of_the_language():
    problem = Problem("edit", Said("your reason has %(number)s characters; %(most)s are kept", number=2001, most=2000))
    assert LANGUAGES["de"].sentence(problem).startswith("Ihre Begründung hat 2.001 Zeichen; ")
    assert [each.number(12345.678, 2) for each in (ENGLISH, LANGUAGES["es"])] == ["12,345.68", "12.345,68"]


@pytest.mark.parametrize(
    ("accepted", "code"),
    [
        ("", "en"),
        ("de", "de"),
        ("es-MX,es;q=0.9,en;q=0.8", "es"),
        ("fr,de;q=0.5,es;q=0.7", "es"),
        ("fr", "en"),
        ("en-GB,de;q=0.9", "en"),
        ("de;q=0,es;q=0.1", "es"),
        ("*;q=0.5,;;q=x,de;q=high", "en"),
    ],
)
def test_a_browser_gets_its_favourite(app: FastAPI, accepted: str, code: str):
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        page = client.get("/", headers={"accept-language": accepted}).text
    assert f'<html lang="{code}" dir="ltr">' in page


def test_a_choice_lasts_and_wins_over_the_browser(app: FastAPI):
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        answer = client.post("/language", data={"language": "es", "here": "/join?once=x"}, follow_redirects=False)
        assert (answer.status_code, answer.headers["location"]) == (303, "/join?once=x")
        assert {"HttpOnly", "SameSite=lax", "Max-Age=31536000"} <= set(answer.headers["set-cookie"].split("; "))
        for _ in range(2):
            page = client.get("/", headers={"accept-language": "de"}).text
            assert "<h1>Iniciar sesión</h1>" in page
            assert '<option value="es" lang="es" selected>Español</option>' in page
        client.post("/language", data={"language": "tlh"})
        assert "<h1>Anmelden</h1>" in client.get("/", headers={"accept-language": "de"}).text


@pytest.mark.parametrize("here", ["", "//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nb", "evil"])
def test_the_way_back_is_never_to_another_machine(app: FastAPI, here: str):
    with TestClient(app, base_url="http://127.0.0.1:8600") as client:
        answer = client.post("/language", data={"language": "de", "here": here}, follow_redirects=False)
    assert answer.headers["location"] == "/"


def test_a_refused_form_leads_back_to_its_page(app: FastAPI, store: Store):
    from burnish.label import service

    link = f"/join?once={service.invite(store, 'annotator')}"
    with TestClient(app, base_url="http://127.0.0.1:8600", headers={"accept-language": "es"}) as client:
        browser = Browser(client=client)
        browser.open(link)
        page = browser.send(name="Amina", password="short").text
        assert "Una contraseña tiene de 10 a 200 caracteres." in page
        assert f'name="here" value="{link}"' in page
        assert "El nombre y la contraseña no coinciden." in client.post("/sign-in", data={"name": "x"}).text


def test_pages_and_errors_speak_it(store: Store, enter: Callable[..., Browser], fill: Callable[..., int]):
    campaign = fill(store, k=3)
    browser = enter("Amina", "owner")
    browser.client.post("/language", data={"language": "de"})
    page = browser.open(f"/campaigns/{campaign}")
    assert "Which is better?" in page, "the question is the campaign's own"
    assert '"enter": "Enter speichert."' in page
    assert "Schädlich: Gewalt" in page
    unfinished = browser.send(**{"rank-1": "1"}, act="judge")
    assert (unfinished.status_code, "Es fehlt ein Platz für Antwort 2, Antwort 3." in unfinished.text) == (422, True)
    assert "Hier ist nichts" in browser.open("/campaigns/999")
    assert "Diese Anfrage ist zu lang." in browser.client.post("/", content=b"x" * (2 * shield.LARGEST_BODY)).text
    for path in ("/progress", f"/progress/{campaign}", f"/progress/{campaign}/models", f"/progress/{campaign}/people"):
        assert "Alle Kampagnen" in browser.open(path) or path == "/progress"
    for path, words in (
        ("/people", "Jemanden einladen"),
        ("/log", "Alle Zeilen passen"),
        ("/progress", "Wie weit es ist"),
    ):
        assert words in browser.open(path)


def test_a_task_that_went_elsewhere_is_told_in_it(
    store: Store, enter: Callable[..., Browser], fill: Callable[..., int]
):
    campaign = fill(store)
    browser = enter("Amina")
    browser.client.post("/language", data={"language": "es"})
    browser.open(f"/campaigns/{campaign}")
    first = browser.page
    browser.send(choice="first", act="judge")
    browser.page = first
    again = browser.send(choice="second", act="judge", submission="another")
    assert (again.status_code, "La tarea ya se había evaluado" in again.text) == (409, True)


def test_a_language_of_the_other_direction(monkeypatch: pytest.MonkeyPatch, app: FastAPI):
    arabic = language.Language(code="ar", name="العربية", direction="rtl", decimal=".", thousands=",", texts={})
    monkeypatch.setattr(language, "LANGUAGES", {**LANGUAGES, "ar": arabic})
    monkeypatch.setattr(desk, "LANGUAGES", {**LANGUAGES, "ar": arabic})
    with TestClient(app, base_url="http://127.0.0.1:8600", headers={"accept-language": "ar"}) as client:
        page = client.get("/").text
    assert '<html lang="ar" dir="rtl">' in page
    assert "<h1>Sign in</h1>" in page, "what has no translation is said in English"
