"""`burnish doctor`: what it says of a model and of data, and its exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from compiling import OF_THE_COMPILER, compile_here
from transformers import LlamaConfig, MistralConfig, StableLmConfig

from burnish.__main__ import code_of
from burnish.batches import Document
from burnish.chat.tokenizer import TEMPLATE
from burnish.errors import DataError
from burnish.models import arithmetic
from burnish.models.forward import Layout
from burnish.models.tiny import CHATML, tiny_tokenizer, write_random, write_tiny
from burnish.proof import doctor, material
from burnish.proof.doctor import as_text, examine
from burnish.proof.law import Law, Measured
from burnish.proof.laws import LAWS
from burnish.proof.material import TAKEN, read_rows
from burnish.records.durable import MANIFEST
from burnish.types import Silent

SIZES = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
QUICK = [law for law in LAWS if law.name in ("zeroed score head: ln 2", "each token passes once")]


def law(value: float) -> Law:
    """A law that measures what it is told."""
    return Law(
        name="made up",
        says="Nothing.",
        measure=lambda subject: Measured.one(value, "a note"),
        tolerances={"": 0.5},
        because="it is a test",
    )


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny(tmp_path_factory.mktemp("doctor") / "tiny")


@pytest.fixture(autouse=True)
def _torch_stays_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command settles how torch computes for its process; this one is not its own."""
    monkeypatch.setattr(arithmetic, "settle", lambda **_: None)


def rows(folder: Path, *values: object) -> Path:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(value) + "\n" for value in values))
    return path


def test_the_command_passes_on_a_small_model(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "deep" / "doctor.json"
    assert code_of(["doctor", str(tiny), "--json", "--out", str(out)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert json.loads(out.read_text()) == found
    assert found["model"] == str(tiny)
    assert found["layout"] == "tree"
    assert found["skipped"] == []
    assert len(found["laws"]) >= len(LAWS)
    for row in found["laws"]:
        assert {"name", "says", "measured", "tolerance", "passed", "seconds"} <= row.keys()
        assert row["passed"]
        assert row["measured"] <= row["tolerance"]


@OF_THE_COMPILER
def test_the_laws_hold_with_compiled_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compile_here(monkeypatch)
    write_random(tmp_path / "llama", LlamaConfig(vocab_size=tiny_tokenizer().vocab_size, **SIZES, head_dim=8))
    found = examine("llama", tmp_path, None, Silent())
    assert [each.name for each in found.findings if not each.passed] == []
    assert found.as_json()["kernels"] == "compiled"
    assert as_text(found, str, None).startswith("llama: packed trees, by compiled kernels\n")


def test_the_command_takes_kernels(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(arithmetic, "settle", lambda **how: asked.append(how))
    monkeypatch.setattr(doctor, "examine", lambda *given: examine(*given, laws=QUICK))
    assert code_of(["doctor", str(tiny), "--kernels", "torch", "--json"]) == 0
    assert asked == [{"kernels": "torch"}]
    assert json.loads(capsys.readouterr().out)["kernels"] == "torch"
    assert code_of(["doctor", str(tiny), "--kernels", "unsloth"]) == 2


def test_learned_tokens_are_counted_and_shown(tiny: Path) -> None:
    """The shortest conversation: 4 markers, and the bytes of "user\\n", "12 times 12?", "\\n", "assistant\\n", "144"
    and "\\n". Learned are "144" and the marker that ends it."""
    found = examine(str(tiny), Path.cwd(), None, Silent(), QUICK)
    first = found.lessons[0]
    assert (first.row, first.tokens, first.learned) == ("sum", 4 + 5 + 12 + 1 + 10 + 3 + 1, 3 + 1)
    assert ("144<|im_end|>", True) in first.pieces
    text = as_text(found, "[{}]".format, None)
    assert "assistant\n  [144<|im_end|>]" in text
    assert "sum: 4 of 36 tokens" in text
    assert text.splitlines()[-1].startswith("All 2 pass, in ")


def test_an_architecture_without_trees_is_told_so(tmp_path: Path) -> None:
    config = StableLmConfig(vocab_size=tiny_tokenizer().vocab_size, num_key_value_heads=2, **SIZES)
    write_random(tmp_path / "model", config)
    found = examine("model", tmp_path, None, Silent(), QUICK)
    assert (found.layout, found.passed, found.skipped) == (Layout.ROWS, True, ["each token passes once"])
    text = as_text(found, str, None)
    assert text.startswith("model: one sequence at a time")
    assert "not tried, having nothing to say of this model: each token passes once" in text


def test_what_fails_is_explained_and_is_exit_4(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = examine(str(tiny), Path.cwd(), None, Silent(), [law(0.5), law(0.6), law(float("nan"))])
    assert [finding.passed for finding in found.findings] == [True, False, False]
    assert [row["measured"] for row in found.as_json()["laws"]] == [0.5, 0.6, None]
    monkeypatch.setattr(doctor, "examine", lambda *given: found)
    out = tmp_path / "found.json"
    assert code_of(["doctor", str(tiny), "--out", str(out)]) == 4
    said = capsys.readouterr().out.splitlines()
    assert "made up        0.6        0.5  FAIL  a note" in said
    assert "made up: Nothing. (Tolerance: it is a test.)" in said
    assert said[-1].startswith("2 of 3 fail: ")
    assert str(out) in said[-1]
    assert json.loads(out.read_text())["passed"] is False


def test_a_users_rankings_are_what_is_tried(tiny: Path, tmp_path: Path) -> None:
    path = rows(
        tmp_path,
        {"prompt": "Hi", "completions": ["Hello.", "Go.", "What?"], "ranks": [1, 3, 2]},
        {"prompt": "Hi", "completions": ["Well.", "Hm."], "ranks": [2, 1]},
        {"prompt": "Tied", "completions": ["a", "b"], "ranks": [1, 1]},
        {"prompt": "Bye", "chosen": "See you.", "rejected": "See you."},
    )
    found = examine(str(tiny), Path.cwd(), path, Silent(), QUICK)
    assert found.passed
    assert [len(lesson.row.split("#")) for lesson in found.lessons] == [2] * 4
    assert found.lessons[0].pieces[1] == ("Hm.<|im_end|>", True)  # the best answer, not the first
    assert [lesson.learned for lesson in found.lessons] == [4, 7, 6 + 4, 7 + 4 + 6]


def test_a_users_conversations_are_what_is_tried(tiny: Path, tmp_path: Path) -> None:
    path = rows(tmp_path, *({"id": f"r{n}", "prompt": "Hi" * n, "completion": "Ho"} for n in range(1, 8)))
    found = examine(str(tiny), Path.cwd(), path, Silent(), QUICK)
    assert found.passed
    assert [lesson.row for lesson in found.lessons[:TAKEN]] == ["r1", "r2", "r3", "r4"]
    assert found.lessons[TAKEN].learned == 2 * (2 + 1)  # its own answer and its neighbour's, each with its end


def test_calls_of_tools_are_marked_as_learned(tmp_path: Path) -> None:
    """Of two rows with tools no tree is made, so that ours are taken."""
    model = write_tiny(tmp_path / "model")
    shows = "{% for t in tools or [] %}{{ t.name }};{% endfor %}"
    calls = "{% for c in message.tool_calls or [] %}{{ c.function | tojson }}{% endfor %}<|im_end|>"
    (model / TEMPLATE).write_text(shows + CHATML.replace("<|im_end|>", calls, 1))
    (model / MANIFEST).unlink()
    call = {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {"x": 1}}]}
    path = rows(
        tmp_path, *({"messages": [{"role": "user", "content": n}, call], "tools": '[{"name": "f"}]'} for n in "ab")
    )
    found = examine(str(model), Path.cwd(), path, Silent(), QUICK)
    assert found.passed
    learned = [[text for text, learned in lesson.pieces if learned] for lesson in found.lessons[:2]]
    assert learned == [['{"name": "f", "arguments": {"x": 1}}<|im_end|>']] * 2
    assert len(found.lessons) == 2 + 3


def test_it_says_how_long_the_documents_were_that_it_tried(tiny: Path, tmp_path: Path) -> None:
    """Beside what it asks, a conversation has 4 markers, "user\\n", "\\n", "assistant\\n", "Ho" and "\\n": 23. A tree
    has no last line break, and a second answer with its end: 25."""
    path = rows(tmp_path, *({"prompt": "i" * n, "completion": "Ho"} for n in (10, 20, 30, 40, 1000)))
    found = examine(str(tiny), Path.cwd(), path, Silent(), QUICK)
    assert (found.rows, found.longest) == (5, 25 + 1000)
    said = "tried on the shortest documents of 5 rows, 33 to 65 tokens; the longest, 1,025 tokens, was not tried"
    assert as_text(found, str, None).splitlines()[1] == said
    own = examine(str(tiny), Path.cwd(), None, Silent(), QUICK)
    assert "not tried" not in as_text(own, str, None)


def test_one_document_of_each_kind_stands_past_the_window(tmp_path: Path) -> None:
    """Of our own rows the last of four conversations has 110 tokens and learns those that it learns without a window;
    the last of three trees has 113."""
    own: list[int] = []
    for window, context, longer in ((200, 1024, 200), (511, 4096, 511), (512, 4096, 0), (200, 300, 0)):
        config = MistralConfig(
            vocab_size=tiny_tokenizer().vocab_size,
            num_key_value_heads=2,
            sliding_window=window,
            max_position_embeddings=context,
            **SIZES,
        )
        write_random(tmp_path / f"{window} of {context}", config)
        found = examine(f"{window} of {context}", tmp_path, None, Silent(), QUICK)
        tokens = [lesson.tokens for lesson in found.lessons]
        assert (found.passed, found.lengthened, len(tokens)) == (True, longer, 4 + 3)
        assert (tokens[3], tokens[6]) == (110 + longer, 113 + longer)
        own = own or [lesson.learned for lesson in found.lessons]
        assert [lesson.learned for lesson in found.lessons] == own
        text = as_text(found, str, None)
        assert (f"one of each kind was made longer by {longer}, to stand past" in text) == bool(longer)
        assert (f"the window of {window} tokens was not reached" in text) == (not longer)


def test_data_that_cannot_be_used_are_a_problem(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty.jsonl").touch()
    rows(tmp_path, {"prompt": "Hi", "completion": "Ho"})
    for name, said in (("gone", "no such file"), ("empty", "the file is empty"), ("rows", "1 usable rows")):
        assert code_of(["doctor", str(tiny), "--data", str(tmp_path / f"{name}.jsonl")]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(DataError, match=r"(?s)0 usable rows.*are the same"):
        read_rows(rows(tmp_path, {"prompt": "Hi", "chosen": "a", "rejected": "a"}))


def test_other_mistakes_are_exit_2(tiny: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of(["doctor", str(tmp_path / "gone")]) == 2
    assert "no such model" in capsys.readouterr().err
    assert code_of(["doctor", str(tiny), "--out", str(tmp_path)]) == 2
    assert "a folder; a file is wanted" in capsys.readouterr().err


def test_several_pairs_of_one_prompt_are_examined_beside_those_of_another() -> None:
    """The shortest rows of many a file of preferences share a prompt, and kto needs two."""
    documents = [Document(row=str(n), ids=[1, 2], branches=[[n], [n]]) for n in range(TAKEN + 3)]
    other = Document(row="other", ids=[3, 4, 5, 6, 7, 8], branches=[[1], [2]])
    taken = material._shortest([*documents, other])
    assert [document.row for document in taken[:2]] == ["0", "other"]
    assert len(taken) == TAKEN
