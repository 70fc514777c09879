"""A model behind a server as a `Generator`: OpenAI's chat completions, as vLLM, llama.cpp, Ollama and most gateways
speak them. Knows requests and choices; knows no token ids, since text is all that comes back.

So its answers serve wherever text is judged or learned from anew: sampling, best of n, evaluation. A policy gradient
needs the ids that were said.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import suppress
from dataclasses import replace
from typing import Any

from burnish.endpoints.choice import completion, wrong
from burnish.endpoints.dialect import ROOM, Dialect, Known, instead, undone, unheard
from burnish.endpoints.reply import Refused
from burnish.endpoints.server import FIRST_WAIT, Address, Server
from burnish.errors import BurnishError, ConfigError, MachineError, Problem, nearest, plain, warn_once
from burnish.types import Completion, Message, Progress, Sampling, Silent, Stop

_log = logging.getLogger(__name__)
AT_ONCE = 8
"""Requests on their way at the same time: servers batch what they have."""
FILTERED = re.compile(
    r"\b(content_filter|content_policy_violation|ResponsibleAIPolicyViolation|data_inspection_failed|invalid_prompt"
    r"|requires moderation)\b"
)
"""What a refusal says that is about one prompt: a filter that let it through to no model."""
OLLAMA = "fp_ollama"
"""How its answers call the system that they come from."""
NO_MODEL = re.compile(r"model_not_found|valid model|\bmodel\b.{0,120}\bnot (exist|found)", re.IGNORECASE)
LONG = 60
"""Characters of an answer that nobody draws twice."""
MANY = 20
"""Models of a server; of more, the likest name alone is told."""


class ChatEndpoint:
    """A `Generator` over a server.

    What is drawn is drawn there: the same seed gives the same answer only as far as the server promises so. `top_k`,
    `min_p` and `repetition_penalty` have the names that vLLM has for them; they are none of OpenAI's. Where they are
    asked for and refused, that is an error.
    """

    def __init__(
        self,
        server: Server,
        model: str,
        progress: Progress = Silent(),
        *,
        logprobs: bool = False,
        known: Known | None = None,
    ) -> None:
        """`logprobs`: ask for those of each token; not every server gives them. `known`: what others have learned of
        this server, to be added to."""
        self.model = model
        self._server = server
        self._progress = progress
        self._logprobs = logprobs
        self._known = known or Known()

    @classmethod
    def open(cls, name: str, progress: Progress = Silent(), *, first_wait: float = FIRST_WAIT) -> ChatEndpoint:
        """The model of an address, `http://host:8000/v1#model`; without its name, the only one that the server has.

        Raises ConfigError for an address or a name that leads nowhere, MachineError where nobody answers.
        """
        server = Server.at(Address.parse(name), first_wait=first_wait)
        return cls(server, server.address.model or _only_model(server), progress)

    def generate(
        self,
        prompts: Sequence[Sequence[Message]],
        sampling: Sampling,
        *,
        n: int = 1,
        seeds: Sequence[int] | None = None,
    ) -> list[list[Completion]]:
        """n answers to each prompt, in the prompts' order. Raises ConfigError for what the server refuses, MachineError
        where it does not answer, however often it is asked."""
        self._progress.start("answers", n * len(prompts))
        pool = ThreadPoolExecutor(AT_ONCE)
        try:
            asked = [
                pool.submit(self._answers, prompt, sampling=replace(sampling, seed=seed), n=n)
                for prompt, seed in zip(prompts, seeds or [sampling.seed] * len(prompts), strict=True)
            ]
            for done in as_completed(asked):
                done.result()  # raises the first failure there is: the others are only sent home by it
                self._progress.advance(n)
        except BaseException:
            self._server.close()  # what is still on its way need not be waited for
            raise
        finally:
            pool.shutdown(cancel_futures=True)
        self._progress.finish()
        rows = [each.result() for each in asked]
        long = [{answer.text for answer in row} for row in rows if len(row[0].text) >= LONG]
        if n > 1 and sampling.temperature > 0 and long and all(len(texts) == 1 for texts in long):
            said = "answers to one prompt are all the same, as if its server drew none or remembered what it had said"
            warn_once(_log, f"{self.model}: {said}")
        return rows

    def answer(self, messages: Sequence[Message], sampling: Sampling) -> Completion:
        """One answer, in the caller's own thread. Raises as `generate` does."""
        return self._answers(messages, sampling=sampling, n=1)[0]

    def close(self) -> None:
        self._server.close()

    def _answers(self, messages: Sequence[Message], *, sampling: Sampling, n: int) -> list[Completion]:
        """Servers that know no `n` give one choice at a time: those are asked again, with another seed."""
        wanted = n if sampling.temperature > 0 else 1  # greedy answers are all the same, and vLLM gives only one
        found: list[Completion] = []
        while len(found) < wanted:
            at = replace(sampling, seed=sampling.seed + len(found))
            fresh = self._said(messages, at, wanted - len(found))
            found += fresh[: wanted - len(found)]
        for stop in {each.stop for each in found if not each.text}:
            warn_once(_log, f"{self.model}: some answers are empty, of those that ended by {stop.value}")
        return found if wanted == n else found * n

    def _said(self, messages: Sequence[Message], sampling: Sampling, n: int) -> list[Completion]:
        """n answers or fewer, asked for in whatever words the server takes."""
        dialect = begun = self._known.dialect
        while True:
            asked = dialect.body(sampling, n, logprobs=self._logprobs)
            who = {"model": self.model, "messages": [message.as_json() for message in messages]}
            try:
                said = self._server.post("/chat/completions", {**who, **asked}, wrong)
            except Refused as refusal:
                if FILTERED.search(refusal.words):
                    return [Completion(text="", stop=Stop.FILTER)] * n
                if dialect.thinks and undone(refusal):
                    return [Completion(text="", stop=Stop.LENGTH)] * n
                other = dialect.after(refusal, sampling, n)
                if other is None:
                    raise self._explained(refusal, messages, sampling) from refusal
            else:
                found = self._choices(said, sampling, asked[dialect.budget])
                if dialect.thinks or not any(each.stop is Stop.LENGTH and not each.spoken for each in found):
                    if dialect is not begun:
                        self._note(dialect, asked, sampling)
                    return found
                other = dialect.roomier
            dialect = other

    def _note(self, dialect: Dialect, asked: Mapping[str, Any], sampling: Sampling) -> None:
        """In these words the server answers: so it is asked from now on."""
        self._known.dialect = dialect
        if sampling.temperature == 0 and "temperature" not in asked:
            warn_once(_log, f"{self.model}: its server takes no temperature of 0, so that it answers at its own")
        if dialect.thinks:
            warn_once(_log, f"{self.model} thinks before it answers, and is given {ROOM:,} tokens or fewer for that")

    def _choices(self, said: Mapping[str, Any], sampling: Sampling, budget: int) -> list[Completion]:
        if said.get("system_fingerprint") == OLLAMA and (names := unheard(sampling)):
            found = f"Ollama passes over {', '.join(names)} where it is asked as OpenAI's API is"
            mend = "Leave them out, or put them into a Modelfile, as PARAMETER top_k 40, and ask for that model."
            raise ConfigError(Problem(self._server.address.url, found, mend))
        try:
            choices = said["choices"]
            spent = (said.get("usage") or {}).get("completion_tokens") if len(choices) == 1 else None
            full = isinstance(spent, int) and spent >= budget
            return [completion(choice, sampling, full=full) for choice in choices]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            found = f"no choices in the form of a chat completion: {plain(dict(said), 120)}"
            mend = "Give a server that speaks OpenAI's API."
            raise MachineError(Problem(self._server.address.url, found, mend)) from error

    def _explained(self, refusal: Refused, messages: Sequence[Message], sampling: Sampling) -> ConfigError:
        """A refusal that no other words mend, with what the server has, or which prompt it was."""
        [problem] = refusal.problems
        if refusal.status in (400, 404) and NO_MODEL.search(refusal.words) and (names := self._served()):
            return ConfigError(replace(problem, mend=nearest(self.model, names, 0.0 if len(names) > MANY else 0.6)))
        if refusal.status in (400, 413, 422):
            found = f'{problem.found}; asked: "{plain(messages[-1].content, 60)}"'
            return ConfigError(replace(problem, found=found, mend=instead(refusal, sampling)))
        return refusal

    def _served(self) -> list[str]:
        with suppress(BurnishError):  # what it has would only be a help
            return _models(self._server)
        return []


def _models(server: Server) -> list[str]:
    listed = server.get("/models").get("data")
    models = listed if isinstance(listed, list) else []
    return [str(each.get("id")) for each in models if isinstance(each, dict)]


def _only_model(server: Server) -> str:
    url, names = server.address.url, _models(server)
    if len(names) != 1:
        known = f"it has {', '.join(plain(name, 60) for name in names)}" if names else "it lists none"
        raise ConfigError(Problem(url, f"which of the server's models is not said; {known}", f"Write {url}#MODEL."))
    return names[0]
