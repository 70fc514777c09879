"""Bad data files: each is refused with exit code, place, what was found and a mend, and nothing is written."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import pwd
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from burnish.errors import BurnishError, DataError
from burnish.records.formats import read_examples, read_labelled, read_prompts, read_rankings
from burnish.records.jsonl import MAX_ROW, read_jsonl

GOOD = b'{"prompt": "Hi", "chosen": "Hello.", "rejected": "No."}\n'
TURN = '{"role": "user", "content": "Hi"}'
SAID = '{"role": "assistant", "content": "Hello."}'

Reader = Callable[[Path], Any]


@dataclass(frozen=True)
class Bad:
    name: str
    data: bytes | str
    where: str
    """What follows the file's name: ":line:column", or "" for the whole file."""
    found: str
    mend: str
    reader: Reader = read_jsonl


def turns(*messages: str) -> str:
    return f'{{"messages": [{", ".join(messages)}]}}\n'


SYNTAX = [
    Bad("empty", b"", "", "0 rows: the file is empty", ""),
    Bad("only blank lines", b"\n \n", "", "0 rows", ""),
    Bad(
        "UTF-16 with mark", '{"a": 1}\n'.encode("utf-16"), "", "the text is UTF-16; UTF-8", "iconv -f UTF-16 -t UTF-8 <"
    ),
    Bad("UTF-16 without", '{"a": 1}\n'.encode("utf-16-le"), "", "the text is UTF-16LE", "iconv -f UTF-16LE"),
    Bad("Latin-1", GOOD + '{"a": "Grüße"}\n'.encode("latin-1"), ":2:10", "byte 0xfc is not UTF-8", "WINDOWS-1252"),
    Bad("NUL escaped", b'{"a": "x\\u0000y"}\n', ":1:9", "a NUL character", "Remove it."),
    Bad("NUL raw", GOOD + b'{"a": "x\x00y"}\n', ":2:9", r"a raw control character ('\x00')", "Remove it"),
    Bad("cut in a string", GOOD + GOOD + GOOD[:20], ":3:18", "the file looks truncated", "head -n 2 <"),
    Bad("cut before a value", GOOD + b'{"prompt": ', ":2:12", "the file looks truncated", "head -n 1 <"),
    Bad("cut in a list", GOOD + b'{"m": [{"a": 1}', ":2:16", "the file looks truncated", "head -n 1 <"),
    Bad("cut in a character", GOOD + '{"a": "ü'.encode()[:-1], ":2:8", "the file looks truncated", "Copy it again"),
    Bad("object over lines", b'{\n "a": 1\n}\n', ":1:1", "one JSON object over several lines", "Run: python"),
    Bad("two objects", GOOD + b'{"a": 1} {"a": 2}\n', ":2:10", "a second value on the line", "a line of its own"),
    Bad("text after", b'{"a": 1} x\n', ":1:10", "text after the end of the row", "Remove it."),
    Bad("single quotes", b"{'a': 1}\n", ":1:2", "a single quote", "ast.literal_eval"),
    Bad("Python's True", b'{"a": True}\n', ":1:7", "True is Python's spelling", "ast.literal_eval"),
    Bad("comment after a row", GOOD + b'{"a": 1} // one\n', ":2:10", "a comment; JSON has none", "grep -vE"),
    Bad("comment line", b"# rows\n" + GOOD, ":1:1", "a comment; JSON has none", "grep -vE"),
    Bad("trailing comma", b'{"a": [1,]}\n', ":1:10", "a comma too many", "Remove the comma"),
    Bad("bare name", b"{a: 1}\n", ":1:2", "a without double quotes", 'Write "a".'),
    Bad("no closing quote", b'{"a": "b}\n' + GOOD, ":1:7", "a string without its closing quote", 'Add the ".'),
    Bad("NaN", b'{"ok": "NaN", "score": NaN}\n', ":1:24", "NaN is no finite number", "Write the number"),
    Bad("-Infinity", b'{"score": [0.5, -Infinity]}\n', ":1:17", "-Infinity is no finite number", "leave the row out"),
    Bad("1e999", GOOD + b'{"score": 1e999}\n', ":2:11", "1e999 is no finite number", "leave the row out"),
    Bad("5,000 digits", b'{"score": ' + b"9" * 5000 + b"}\n", ":1:1", "a number is too long", ""),
    Bad(
        "name twice",
        b'{"m": {"chosen": 1, "chosen": 2}}\n',
        ":1:21",
        '"chosen" stands twice (first in column 8)',
        "Remove",
    ),
    Bad("lone high surrogate", b'{"a": "x\\ud800y"}\n', ":1:9", "a lone surrogate", "Write the whole character"),
    Bad("lone low surrogate", b'{"a": "\\\\\\udc00"}\n', ":1:10", "a lone surrogate", "Write the whole character"),
    Bad(
        "surrogates turned round", b'{"a": "\\ude00\\ud83d"}\n', ":1:8", "a lone surrogate", "Write the whole character"
    ),
    Bad("depth 200,000", b'{"a": ' + b"[" * 200_000 + b"\n", ":1:70", "nested deeper than 64", ""),
    Bad("row is text", GOOD + b'"hello"\n', ":2:1", "the row is text; an object {...} is wanted", ""),
    Bad("row is null", GOOD + b"null\n", ":2:1", "the row is null; an object", ""),
    Bad("row is a number", GOOD + b"17\n", ":2:1", "the row is a number", ""),
    Bad("pickle", pickle.dumps({"a": 1}), "", "not JSON (pickle header)", "Ask for it as JSON lines."),
    Bad("old pickle", pickle.dumps({"a": 1}, protocol=0), "", "not JSON (pickle header)", "Ask for it"),
    Bad("Parquet", b"PAR1\x15\x04", "", "not JSON lines but a Parquet file", "Convert it"),
    Bad("torch.save", b"PK\x03\x04....", "", "not JSON lines but a zip archive", "Convert it"),
    Bad("cut gzip", gzip.compress(GOOD * 99)[:-12], "", "the gzip data end early: the file looks truncated", "Copy it"),
    Bad("damaged gzip", gzip.compress(GOOD * 99)[:10] + b"\xff" * 50, "", "the gzip data are damaged", "Copy it"),
]

GOOD_LABEL = b'{"prompt": "a", "completion": "b", "label": true}\n'
ROWS = [
    Bad(
        "label missing",
        GOOD_LABEL + b'{"prompt": "a", "completion": "b"}\n',
        ":2:1",
        '"label" is missing (keys here: prompt, completion)',
        "Add it",
        read_labelled,
    ),
    Bad(
        "label in quotes",
        GOOD_LABEL + b'{"prompt": "a", "completion": "b", "label": "false"}\n',
        ":2:36",
        '"label" is text; true (good) or false (bad)',
        "without quotes",
        read_labelled,
    ),
    Bad(
        "label is a number",
        b'{"prompt": "a", "completion": "b", "label": 1}\n' + GOOD_LABEL,
        ":1:36",
        '"label" is a number',
        "Write true or false",
        read_labelled,
    ),
    Bad(
        "labels of one kind",
        GOOD_LABEL * 3,
        ":1:36",
        "the label is true, and so it is in all 3 rows",
        "Give good answers and bad ones.",
        read_labelled,
    ),
    Bad(
        "labelled answer empty",
        b'{"prompt": "a", "completion": " ", "label": false}\n' + GOOD_LABEL,
        ":1:17",
        '"completion" is empty',
        "leave the row out",
        read_labelled,
    ),
    Bad(
        "chosen missing",
        GOOD + b'{"prompt": "a", "rejected": "b"}\n',
        ":2:1",
        '"chosen" is missing (keys here: prompt, rejected)',
        "Add it",
        read_rankings,
    ),
    Bad(
        "chosen misspelt",
        b'{"prompt": "a", "choosen": "b", "rejected": "c"}\n',
        ":1:1",
        '"chosen" is missing',
        'Did you mean "choosen"?',
        read_rankings,
    ),
    Bad(
        "type changes",
        GOOD * 1231 + b'{"prompt": "a", "chosen": 5, "rejected": "b"}\n',
        ":1232:17",
        '"chosen" is a number',
        "",
        read_rankings,
    ),
    Bad(
        "chosen empty",
        b'{"prompt": "a", "chosen": " ", "rejected": "b"}\n',
        ":1:17",
        '"chosen" is empty',
        "Write the answer",
        read_rankings,
    ),
    Bad(
        "same twice",
        b'{"prompt": "a", "chosen": "b", "rejected": "b "}\n',
        ":1:32",
        '"chosen" and "rejected" are the same',
        "prefers nothing",
        read_rankings,
    ),
    Bad(
        "prompts differ",
        b'{"chosen": "\\n\\nHuman: a\\n\\nAssistant: b", "rejected": "\\n\\nHuman: x\\n\\nAssistant: c"}\n',
        ":1:44",
        "the prompts of the two sides differ",
        "Leave the row out",
        read_rankings,
    ),
    Bad(
        "no prompt",
        b'{"chosen": "b", "rejected": "c"}\n',
        ":1:2",
        '"chosen" has no prompt',
        "Add a prompt",
        read_rankings,
    ),
    Bad(
        "ranks too few",
        b'{"prompt": "a", "completions": ["b", "c", "d"], "ranks": [1, 2]}\n',
        ":1:49",
        "3 completions and 2 ranks",
        "one rank",
        read_rankings,
    ),
    Bad(
        "rank 0",
        b'{"prompt": "a", "completions": ["b", "c"], "ranks": [1, 0]}\n',
        ":1:57",
        "a rank is 0; whole numbers from 1",
        "",
        read_rankings,
    ),
    Bad(
        "rank true",
        b'{"prompt": "a", "completions": ["b", "c"], "ranks": [1, true]}\n',
        ":1:57",
        "a rank is true",
        "",
        read_rankings,
    ),
    Bad(
        "one completion",
        b'{"prompt": "a", "completions": ["b"], "ranks": [1]}\n',
        ":1:17",
        "two completions or more",
        "Leave",
        read_rankings,
    ),
    Bad(
        "all completions same",
        b'{"prompt": "a", "completions": ["b", "b"], "ranks": [1, 2]}\n',
        ":1:17",
        "all completions are the same",
        "Leave",
        read_rankings,
    ),
    Bad(
        "completion null",
        b'{"prompt": "a", "completions": ["b", null], "ranks": [1, 2]}\n',
        ":1:38",
        "is null; text is wanted",
        "",
        read_rankings,
    ),
    Bad(
        "ends with user",
        turns(TURN, SAID, TURN),
        ":1:94",
        "no assistant turn to learn",
        "Add the answer",
        read_examples,
    ),
    Bad(
        "two assistant turns",
        turns(TURN, SAID, SAID),
        ":1:94",
        "turns 2 and 3 are both the assistant's",
        "Join them",
        read_examples,
    ),
    Bad(
        "system in the middle",
        turns(TURN, '{"role": "system", "content": "x"}', SAID),
        ":1:50",
        "a system turn in the middle (turn 2)",
        "Put it first",
        read_examples,
    ),
    Bad(
        "content null",
        turns(TURN, '{"role": "assistant", "content": null}'),
        ":1:72",
        "the content of turn 2 is null",
        "",
        read_examples,
    ),
    Bad(
        "a call without a name",
        turns(TURN, '{"role": "assistant", "content": null, "tool_calls": [{}]}'),
        ":1:104",
        "call 1 of turn 2 has no name",
        "function",
        read_examples,
    ),
    Bad(
        "tool calls of a prompt",
        b'{"prompt": [%s, {"role": "assistant", "content": "", "tool_calls": [{"name": "f", "arguments": {}}]}]}\n'
        % TURN.encode(),
        ":1:85",
        'turn 2 has "tool_calls", sft alone learns calls of tools so far',
        "content",
        read_prompts,
    ),
    Bad(
        "tool result without a call",
        turns(TURN, '{"role": "tool", "content": "4"}', SAID),
        ":1:50",
        "turn 2 is a tool's result that no",
        "Remove it",
        read_examples,
    ),
    Bad(
        "unknown role",
        turns('{"role": "human", "content": "x"}', SAID),
        ":1:16",
        'turn 1 has the role "human"',
        'Write "user".',
        read_examples,
    ),
    Bad(
        "misspelt role",
        turns(TURN, '{"role": "asistant", "content": "x"}'),
        ":1:51",
        'turn 2 has the role "asistant"',
        'Did you mean "assistant"?',
        read_examples,
    ),
    Bad(
        "ShareGPT turns",
        turns('{"from": "human", "value": "x"}'),
        ":1:15",
        '"role" is missing in turn 1 (keys here: from, value)',
        'Rename "from" to "role"',
        read_examples,
    ),
    Bad("turn is text", turns('"hi"'), ":1:15", "turn 1 is text; an object", "", read_examples),
    Bad("no turns", turns(), ":1:2", '"messages" holds no turn', "Add the turns", read_examples),
    Bad("messages is text", b'{"messages": "hi"}\n', ":1:2", '"messages" is text; a list of turns', "", read_examples),
    Bad(
        "empty answer",
        turns(TURN, '{"role": "assistant", "content": ""}'),
        ":1:72",
        "the assistant's turn 2 is empty",
        "Write the answer",
        read_examples,
    ),
    Bad(
        "empty completion",
        b'{"prompt": "a", "completion": ""}\n',
        ":1:17",
        '"completion" is empty: nothing to learn',
        "Write",
        read_examples,
    ),
    Bad(
        "prompt ends with assistant",
        turns(TURN, SAID),
        ":1:50",
        "the prompt ends with the assistant's turn",
        "Remove that turn",
        read_prompts,
    ),
    Bad("empty prompt", b'{"prompt": " "}\n', ":1:2", '"prompt" is empty', "Write the prompt", read_prompts),
    Bad(
        "id twice",
        b'{"id": "p", "prompt": "a"}\n{"id": "p", "prompt": "b"}\n',
        ":2:2",
        'the id "p" stands in line 1 already',
        "its own",
        read_prompts,
    ),
    Bad("id is a list", b'{"id": [], "prompt": "a"}\n', ":1:2", '"id" is a list', "", read_prompts),
]


@pytest.mark.parametrize("bad", SYNTAX + ROWS, ids=lambda bad: bad.name)
def test_refused(bad: Bad, tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(bad.data.encode() if isinstance(bad.data, str) else bad.data)
    with pytest.raises(DataError) as caught:
        bad.reader(path)
    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == 1
    problem = caught.value.problems[0]
    assert problem.where == f"{path}{bad.where}"
    assert bad.found in str(problem)
    assert bad.mend in problem.mend
    assert bool(bad.mend) == bool(problem.mend)
    assert os.listdir(tmp_path) == ["data.jsonl"]


def refusal(reader: Reader, path: Path) -> BurnishError:
    with pytest.raises(BurnishError) as caught:
        reader(path)
    return caught.value


def test_all_problems_of_a_file_at_once(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(GOOD + b"{'a': 1}\n" + GOOD + b"[]\n" * 30)
    text = str(refusal(read_jsonl, path))
    assert f"{path}:2:2: a single quote" in text
    assert f"{path}:4:1: the row is a list" in text
    assert text.endswith("... and 11 more of 31 problems")


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "prefs.jsonl").write_bytes(GOOD)
    error = refusal(read_jsonl, tmp_path / "perfs.jsonl")
    assert error.exit_code == 2
    assert str(error) == f"{tmp_path}/perfs.jsonl: there is no such file. Did you mean {tmp_path}/prefs.jsonl?"
    deep = refusal(read_jsonl, tmp_path / "no" / "such" / "prefs.jsonl")
    assert "Nothing like it lies in" in str(deep)


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "pre\x1b[31mfs.jsonl").write_bytes(b"x\n")
    text = str(refusal(read_jsonl, tmp_path / "prefs.jsonl")) + str(refusal(read_jsonl, tmp_path))
    assert "\x1b" not in text
    assert "\\x1b[31m" in text
    (tmp_path / "a\nb.jsonl").write_bytes(b'{"choos\\u001b[0men": 1}\n')
    text = str(refusal(read_rankings, tmp_path / "a\nb.jsonl"))
    assert "\n" not in text
    assert "\x1b" not in text


def test_folders(tmp_path: Path) -> None:
    assert "holds no data file" in str(refusal(read_jsonl, tmp_path))
    (tmp_path / "a.jsonl").write_bytes(GOOD)
    assert len(read_jsonl(tmp_path)) == 1
    (tmp_path / "b.jsonl.gz").write_bytes(gzip.compress(GOOD))
    several = str(refusal(read_jsonl, tmp_path))
    assert "holds 2 data files (a.jsonl, b.jsonl.gz). Name the data file itself: " in several
    (tmp_path / "load.py").write_text("raise SystemExit('run')")
    assert "contains code (load.py), which is not run" in str(refusal(read_jsonl, tmp_path))


def test_neither_file_nor_folder(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    assert "neither a file nor a folder" in str(refusal(read_jsonl, tmp_path / "pipe.jsonl"))


READ_AS_NOBODY = """
import os, sys
from pathlib import Path
from burnish.records.jsonl import read_jsonl
from burnish.errors import BurnishError
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
try:
    read_jsonl(Path(sys.argv[1]))
except BurnishError as error:
    print(error)
    sys.exit(error.exit_code)
"""


def test_unreadable_file_is_the_machines_fault(tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_uid == os.getuid() and folder != Path("/"):
            folder.chmod(folder.stat().st_mode | 0o055)
    path = tmp_path / "secret.jsonl"
    path.write_bytes(GOOD)
    path.chmod(0)
    ran = subprocess.run([sys.executable, "-c", READ_AS_NOBODY, str(path)], capture_output=True, text=True, check=False)
    assert ran.returncode == 3, ran.stderr
    owner = pwd.getpwuid(os.getuid()).pw_name
    assert f"{path}: may not be read by this user (owner {owner}, mode ----------)" in ran.stdout
    assert f"chmod a+r {path}" in ran.stdout


def test_a_long_line_is_refused_in_flat_memory(tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    with open(path, "wb") as file:
        file.write(GOOD + b'{"a": "' + b"x" * 8192)
        file.truncate(8 * MAX_ROW)  # a hole of 128 MB: NULs that take no disk
    with open(path, "ab") as file:
        file.write(b'"}\n' + GOOD + b'{"b": NaN}\n')
    tracemalloc.start()
    error = refusal(read_jsonl, path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [problem.where for problem in error.problems] == [f"{path}:2:1", f"{path}:4:7"]
    assert "the row is longer than 16 MB" in str(error)
    assert peak < 5 * MAX_ROW


def test_a_word_without_spaces_is_quick(tmp_path: Path) -> None:
    path = tmp_path / "word.jsonl"
    path.write_text(json.dumps({"prompt": "a" * 500_000 + '"\\[' * 100_000}) + "\n")
    start = time.perf_counter()
    assert len(read_prompts(path)) == 1
    path.write_text('{"prompt": "' + '\\"[' * 200_000)  # unterminated, and full of quotes and brackets
    assert "truncated" in str(refusal(read_prompts, path))
    assert time.perf_counter() - start < 1.0
