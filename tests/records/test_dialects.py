"""Files of another form: what is told of them, once, and that the shell line in it makes a file that can be read."""

from __future__ import annotations

import gzip
import json
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import DataError, Problem
from burnish.records.formats import read_examples, read_labelled, read_prompts, read_rankings
from burnish.types import Message, ToolCall

ALPACA = [
    {"instruction": "Add.", "input": "1 and 2", "output": "3", "source": "s"},
    {"instruction": 'It\'s "$HOME"\nü?', "input": "", "output": "Yes."},
    {"instruction": "Hi", "output": "Hello."},
]
SHARE_GPT = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}], "topic": "t"},
    {
        "conversations": [
            {"from": "system", "value": "Be kind."},
            {"from": "human", "value": "It's ü"},
            {"from": "gpt", "value": "Yes."},
        ]
    },
]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    data = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def refused(reader: Callable[[Path], Any], path: Path) -> Problem:
    with pytest.raises(DataError) as caught:
        reader(path)
    [problem] = caught.value.problems
    return problem


@pytest.mark.parametrize("name", ["their rows.jsonl", "rows.jsonl.gz"])
def test_alpacas_columns_are_made_prompts_and_completions(tmp_path: Path, name: str) -> None:
    path = written(tmp_path / name, ALPACA)
    problem = refused(read_examples, path)
    assert problem.where == f"{path}:1:1"
    assert problem.found == 'all 3 rows: "messages" is missing (keys here: instruction, input, output, source)'
    subprocess.run(["bash", "-c", problem.mend.removeprefix("Run: ")], check=True)
    found = read_examples(path.with_name(f"{name.split('.')[0]}.mended.jsonl"))
    assert [[turn.content for turn in each.messages] for each in found] == [
        ["Add.\n\n1 and 2", "3"],
        ['It\'s "$HOME"\nü?', "Yes."],
        ["Hi", "Hello."],
    ]
    assert found[0].meta == {"source": "s"}


def test_share_gpts_conversations_are_made_messages(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", SHARE_GPT)
    problem = refused(read_examples, path)
    assert problem.found.startswith('all 2 rows: "messages" is missing (keys here: conversations, topic)')
    subprocess.run(["bash", "-c", problem.mend.removeprefix("Run: ")], check=True)
    one, other = read_examples(tmp_path / "rows.mended.jsonl")
    assert one.messages == (Message(role="user", content="Hi"), Message(role="assistant", content="Hello."))
    assert [(turn.role, turn.content) for turn in other.messages] == [
        ("system", "Be kind."),
        ("user", "It's ü"),
        ("assistant", "Yes."),
    ]
    assert one.meta == {"topic": "t"}


@pytest.mark.parametrize(
    ("reader", "row", "found", "mend"),
    [
        (read_examples, {"text": "a"}, '"messages" is missing', 'Give "messages", or "prompt" and "completion".'),
        (read_prompts, {"id": "p", "q": "a"}, '"prompt" is missing', "or name it: prompt_column: q in a recipe"),
        (read_prompts, {"question": "a"}, '"prompt" is missing', "--prompt-column question of sample and best-of-n."),
        (read_rankings, {"text": "a"}, '"chosen" is missing', 'Give "prompt", "chosen" and "rejected", or '),
        (read_labelled, {"text": "a"}, '"prompt" is missing', 'Give "prompt", "completion" and "label".'),
    ],
)
def test_rows_without_any_of_the_columns_are_told_which_are_wanted(
    tmp_path: Path, reader: Callable[[Path], Any], row: dict[str, Any], found: str, mend: str
) -> None:
    rows = [{**row, "id": str(number)} if "id" in row else row for number in range(50)]
    problem = refused(reader, written(tmp_path / "rows.jsonl", rows))
    assert problem.found.startswith(f"all 50 rows: {found} (keys here: ")
    assert mend in problem.mend


def test_a_column_of_ones_own_is_missing_in_all_rows(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"question": "a"}, {"question": "b"}])
    problem = refused(lambda path: read_prompts(path, "qestion"), path)
    assert problem.found == 'all 2 rows: "qestion" is missing (keys here: question)'
    assert problem.mend == 'Did you mean "question"? Add it, or rename the column.'


def test_what_some_rows_lack_is_told_of_each(tmp_path: Path) -> None:
    good = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    path = written(tmp_path / "rows.jsonl", [good, *ALPACA])
    with pytest.raises(DataError) as caught:
        read_examples(path)
    assert [problem.where for problem in caught.value.problems] == [f"{path}:{line}:1" for line in (2, 3, 4)]


def translated(reader: Callable[[Path], Any], path: Path) -> Any:
    """What is read of a file once the line that it was refused with has run."""
    problem = refused(reader, path)
    line = problem.mend[problem.mend.index("python -c") :]
    subprocess.run(["bash", "-c", line], check=True)
    return reader(path.with_name(f"{path.name.split('.')[0]}.mended.jsonl"))


def turns_of(messages: Sequence[Message]) -> list[tuple[str, str]]:
    return [(turn.role, turn.content) for turn in messages]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (
            {"instruction": "Who?", "context": "Ada wrote it.", "response": "Ada.", "category": "qa"},  # Dolly
            [("user", "Who?\n\nAda wrote it."), ("assistant", "Ada.")],
        ),
        (
            {"system_prompt": "Be kind.", "question": "Who?", "response": "Ada."},  # OpenOrca
            [("system", "Be kind."), ("user", "Who?"), ("assistant", "Ada.")],
        ),
        ({"system_prompt": "", "question": "Who?", "response": "Ada."}, [("user", "Who?"), ("assistant", "Ada.")]),
        ({"question": "1 + 2?", "answer": "It is\n#### 3"}, [("user", "1 + 2?"), ("assistant", "It is\n#### 3")]),
        ({"problem": "1 + 2?", "solution": "So 3.", "answer": "3"}, [("user", "1 + 2?"), ("assistant", "So 3.")]),
        ({"prompt": "Who?", "response": "Ada."}, [("user", "Who?"), ("assistant", "Ada.")]),
        ({"conversations": ["Who?", "Ada."], "source": "s"}, [("user", "Who?"), ("assistant", "Ada.")]),  # LIMA
        (
            {"conversation": [{"role": "user", "content": "Who?"}, {"role": "assistant", "content": "Ada."}]},
            [("user", "Who?"), ("assistant", "Ada.")],
        ),
        (
            {
                "system": "Be kind.",
                "conversations": [{"from": "human", "value": "Who?"}, {"from": "gpt", "value": "Ada."}],
            },
            [("system", "Be kind."), ("user", "Who?"), ("assistant", "Ada.")],
        ),
        (
            {"instruction": "Who?", "input": "", "output": "Ada.", "history": [["Hi", "Hello."]], "system": "Be kind."},
            [("system", "Be kind."), ("user", "Hi"), ("assistant", "Hello."), ("user", "Who?"), ("assistant", "Ada.")],
        ),
    ],
)
def test_conversations_as_they_are_published(
    tmp_path: Path, row: dict[str, Any], expected: list[tuple[str, str]]
) -> None:
    [found] = translated(read_examples, written(tmp_path / "rows.jsonl", [row]))
    assert turns_of(found.messages) == expected


def test_what_a_turn_weighs_is_not_lost_on_the_way(tmp_path: Path) -> None:
    said = [{"from": "human", "value": "Who?", "weight": 0}, {"from": "gpt", "value": "Ada.", "weight": 1}]
    [found] = translated(read_examples, written(tmp_path / "rows.jsonl", [{"conversations": said}]))
    assert turns_of(found.messages) == [("user", "Who?"), ("assistant", "Ada.")]
    said[1]["weight"] = 0
    with pytest.raises(DataError, match='turn 2 has "weight", and every turn of the assistant\'s is learned'):
        translated(read_examples, written(tmp_path / "rows.jsonl", [{"conversations": said}]))


def test_a_call_of_a_tool_is_not_taken_for_something_else(tmp_path: Path) -> None:
    said = [{"from": who, "value": "x"} for who in ("human", "function_call", "observation", "gpt")]
    with pytest.raises(DataError, match='turn 2 has the role "function_call"; a call of a tool is a member'):
        translated(read_examples, written(tmp_path / "rows.jsonl", [{"conversations": said}]))


@pytest.mark.parametrize("many", [False, True])
def test_calls_as_llama_factory_has_them(tmp_path: Path, many: bool) -> None:
    call = {"name": "look", "arguments": {"at": "It's"}}
    said = [
        {"from": "human", "value": "Who?"},
        {"from": "function_call", "value": json.dumps([call] if many else call), "weight": 1},
        {"from": "observation", "value": "Ada"},
        {"from": "gpt", "value": "Ada."},
    ]
    tools = json.dumps([{"name": "look", "description": "d", "parameters": {}}])
    [found] = translated(read_examples, written(tmp_path / "rows.jsonl", [{"conversations": said, "tools": tools}]))
    assert turns_of(found.messages) == [("user", "Who?"), ("assistant", ""), ("tool", "Ada"), ("assistant", "Ada.")]
    assert found.messages[1].calls == (ToolCall(name="look", arguments={"at": "It's"}),)
    assert found.tools == (json.loads(tools)[0],)


ASKS = [{"role": "user", "content": "Who?"}]
ADA, BOB = [*ASKS, {"role": "assistant", "content": "Ada."}], [*ASKS, {"role": "assistant", "content": "Bob."}]
SHP = {"history": "Who?", "human_ref_A": "Ada.", "human_ref_B": "Bob.", "score_A": 3}
SAFE = {"prompt": "Who?", "response_0": "Ada.", "response_1": "Bob.", "safer_response_id": 1}
ARENA = {"conversation_a": ADA, "conversation_b": BOB, "model_a": "a", "model_b": "b"}
HELPED = {"context": ASKS, "response1": "Ada.", "response2": "Bob."}
STEERED = {"prompt": "Who?", "response_1": "Ada.", "response_2": "Bob."}
WEBGPT = {"question": {"full_text": "Who?", "id": 1}, "answer_0": "Ada.", "answer_1": "Bob."}
SUMMED = {"info": {"post": "Who?"}, "summaries": [{"text": "Ada."}, {"text": "Bob."}]}
BARRED = {"input": "Who?", "output_1": "Ada.", "output_2": "Bob."}
STACK = [{"text": "Ada.", "pm_score": 4}, {"text": "Bob.", "pm_score": 2}]


@pytest.mark.parametrize(
    ("row", "ranks"),
    [
        (SHP | {"labels": 1}, (1, 2)),
        (SHP | {"labels": 0}, (2, 1)),
        (SAFE | {"better_response_id": 0}, (1, 2)),
        (SAFE | {"better_response_id": 1}, (2, 1)),
        (ARENA | {"winner": "model_a"}, (1, 2)),
        (ARENA | {"winner": "model_b"}, (2, 1)),
        (ARENA | {"winner": "tie"}, (1, 1)),
        (ARENA | {"winner": "tie (bothbad)"}, (1, 1)),
        (HELPED | {"overall_preference": -3}, (1, 2)),
        (HELPED | {"overall_preference": 2}, (2, 1)),
        (HELPED | {"overall_preference": 0}, (1, 1)),
        (STEERED | {"preference_strength": -1}, (1, 2)),
        (STEERED | {"preference_strength": 3}, (2, 1)),
        (WEBGPT | {"score_0": 0.5, "score_1": -0.5}, (1, 2)),
        (WEBGPT | {"score_0": -1.0, "score_1": 1.0}, (2, 1)),
        (WEBGPT | {"score_0": 0.0, "score_1": 0.0}, (1, 1)),
        (SUMMED | {"choice": 0}, (1, 2)),
        (SUMMED | {"choice": 1}, (2, 1)),
        (BARRED | {"label": 1}, (1, 2)),
        (BARRED | {"label": 2}, (2, 1)),
        ({"question": "Who?", "response_j": "Ada.", "response_k": "Bob."}, (1, 2)),
        ({"question": "Who?", "answers": STACK}, (1, 2)),
        ({"question": "Who?", "answers": STACK[::-1]}, (2, 1)),
        ({"question": "Who?", "chosen": "Ada.", "rejected": "Bob."}, (1, 2)),
        ({"instruction": "Who?", "input": "", "output": "x", "rejected": "Bob.", "chosen": "Ada."}, (1, 2)),
        (
            {
                "conversations": [{"from": "human", "value": "Who?"}],
                "chosen": {"from": "gpt", "value": "Ada."},
                "rejected": {"from": "gpt", "value": "Bob."},
            },
            (1, 2),
        ),
        (
            {
                "prompt": "\n\nHuman: Who?\n\nAssistant: ",  # Nectar
                "answers": [{"answer": "Bob.", "rank": 7.0}, {"answer": "Ada.", "rank": 1.0}],
            },
            (7, 1),
        ),
    ],
)
def test_preferences_as_they_are_published(tmp_path: Path, row: dict[str, Any], ranks: tuple[int, ...]) -> None:
    [found] = translated(read_rankings, written(tmp_path / "rows.jsonl", [row]))
    assert turns_of(found.prompt.messages) == [("user", "Who?")]
    assert found.ranks == ranks
    assert set(found.completions) == {"Ada.", "Bob."}
    if len(set(ranks)) > 1:
        assert found.best == ("Ada." if ranks != (2, 1) else found.completions[1])


def test_the_system_of_a_pair_comes_first(tmp_path: Path) -> None:
    row = {"system": "Be kind.", "question": "Who?", "chosen": "Ada.", "rejected": "Bob."}  # Orca's pairs
    [found] = translated(read_rankings, written(tmp_path / "rows.jsonl", [row]))
    assert turns_of(found.prompt.messages) == [("system", "Be kind."), ("user", "Who?")]


def test_conversations_of_an_arena_that_took_two_ways_are_left_out(tmp_path: Path) -> None:
    longer = [*ADA, *ASKS, {"role": "assistant", "content": "Still Ada."}]
    other = [*BOB, *ASKS, {"role": "assistant", "content": "Still Bob."}]
    rows = [
        ARENA | {"winner": "model_a"},
        {**ARENA, "conversation_a": longer, "conversation_b": other, "winner": "model_b"},
    ]
    assert len(translated(read_rankings, written(tmp_path / "rows.jsonl", rows))) == 1


def test_lines_are_for_arrays_too(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(ALPACA, indent=1))
    assert len(translated(read_examples, path)) == 3


def test_prompts_of_alpaca_have_their_inputs(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", ALPACA[:1])
    assert 'what is asked stands in "input" too' in refused(lambda path: read_prompts(path, "instruction"), path).found
    [found] = translated(read_prompts, path)
    assert turns_of(found.messages) == [("user", "Add.\n\n1 and 2")]
    assert found.meta == {"output": "3", "source": "s"}


def test_prompts_of_conversations_are_those_without_the_answer(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [{"prompt": "Who?", "messages": ADA}, {"prompt": "Who?", "messages": BOB}])
    assert [turns_of(each.messages) for each in translated(read_prompts, path)] == [[("user", "Who?")]] * 2


def test_a_column_is_not_proposed_at_random(tmp_path: Path) -> None:
    rows = [{"source": "olympiad", "category": "algebra", "n": 1}]
    assert "prompt_column: COLUMN " in refused(read_prompts, written(tmp_path / "rows.jsonl", rows)).mend
    rows = [{"context": "Ada met Bob.", "question": "Who met Bob?"}]
    assert "prompt_column: COLUMN " in refused(read_prompts, written(tmp_path / "rows.jsonl", rows)).mend
    rows = [{"source": "olympiad", "problem": "1 + 2?", "solution": "3"}]
    assert "prompt_column: problem " in refused(read_prompts, written(tmp_path / "rows.jsonl", rows)).mend


def test_pictures_with_one_text_are_refused_and_text_is_read(tmp_path: Path) -> None:
    parts = [{"type": "text", "text": "Who?"}]
    row = {"messages": [{"role": "user", "content": parts}, {"role": "assistant", "content": "Ada."}]}
    [found] = read_examples(written(tmp_path / "rows.jsonl", [row]))
    assert turns_of(found.messages) == [("user", "Who?"), ("assistant", "Ada.")]
    parts.append({"type": "text", "text": "And when?"})
    assert "has 2 parts" in refused(read_examples, written(tmp_path / "rows.jsonl", [row])).found
    parts.append({"type": "image"})
    found = refused(read_examples, written(tmp_path / "rows.jsonl", [row])).found
    assert found == 'the content of turn 1 has a part that is of the type "image"; text alone is read'


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ('[{"role": "user", "content": "Hi"}]', "is text that holds a list of turns"),
        ("[{'content': 'Hi', 'role': 'user'}]", "is text that holds a list of turns"),
        ("<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "has a chat template's marks in it"),
        ("<s>[INST] Hi [/INST]", "has a chat template's marks in it"),
        ("Hi\n<extra_id_1>Assistant\nHello.\n<extra_id_1>User\nWho?", "has a chat template's marks in it"),
    ],
)
def test_turns_that_are_written_into_a_text_are_no_question(tmp_path: Path, prompt: str, found: str) -> None:
    path = written(tmp_path / "rows.jsonl", [{"prompt": prompt}])
    assert refused(read_prompts, path).found == f'"prompt" {found}' or found in refused(read_prompts, path).found


@pytest.mark.parametrize(
    "prompt",
    ['Sort: [{"role": "user"}]', '[{"role": "admin"}]', '[{"from": "Rome"}]', "What does <|im_start|>user mean?"],
)
def test_texts_that_speak_of_turns_are_questions(tmp_path: Path, prompt: str) -> None:
    [found] = read_prompts(written(tmp_path / "rows.jsonl", [{"prompt": prompt}]))
    assert turns_of(found.messages) == [("user", prompt)]


@pytest.mark.parametrize("reader", [read_examples, read_prompts, read_rankings])
def test_no_line_leaves_a_part_of_the_question_out(tmp_path: Path, reader: Callable[[Path], Any]) -> None:
    row = {"context": "Ada met Bob.", "question": "Who met Bob?", "answer": "Ada.", "chosen": "Ada.", "rejected": "I."}
    with pytest.raises(DataError) as caught:
        reader(written(tmp_path / "rows.jsonl", [row]))
    assert "python -c" not in caught.value.problems[0].mend
