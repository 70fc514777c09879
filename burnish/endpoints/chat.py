"""A model behind a server as a `Generator`: OpenAI's chat completions, as vLLM, llama.cpp, Ollama and most gateways
speak them. Knows requests and choices; knows no token ids, since text is all that comes back.

So its answers serve wherever text is judged or learned from anew: sampling, best of n, evaluation. A policy gradient
needs the ids that were said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from typing import Any

from burnish.endpoints.server import FIRST_WAIT, Address, Server
from burnish.errors import ConfigError, MachineError, Problem, plain
from burnish.types import Completion, Message, Progress, Sampling, Silent, Stop

AT_ONCE = 8
"""Requests on their way at the same time: servers batch what they have."""
_SEEDS = 2**31
"""llama.cpp's are 32 bits wide, others' 64."""
_STOPS = {"length": Stop.LENGTH, "content_filter": Stop.FILTER}


class ChatEndpoint:
    """A `Generator` over a server.

    What is drawn is drawn there: the same seed gives the same answer only as far as the server promises so. `top_k`,
    `min_p` and `repetition_penalty` are sent where they are asked for, under the names that vLLM has for them; they are
    none of OpenAI's, and a server may refuse them.
    """

    def __init__(self, server: Server, model: str, progress: Progress = Silent(), *, logprobs: bool = False) -> None:
        """`logprobs`: ask for those of each token; not every server gives them."""
        self.model = model
        self._server = server
        self._progress = progress
        self._logprobs = logprobs

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
        return [each.result() for each in asked]

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
            asked = self._body(messages, sampling, wanted - len(found), len(found))
            fresh = self._choices(self._server.post("/chat/completions", asked))
            found += fresh[: wanted - len(found)]
        return found if wanted == n else found * n

    def _body(self, messages: Sequence[Message], sampling: Sampling, n: int, before: int) -> dict[str, Any]:
        special = {
            "top_k": sampling.top_k,
            "min_p": sampling.min_p or None,
            "repetition_penalty": sampling.repetition_penalty if sampling.repetition_penalty != 1 else None,
            "stop": list(sampling.stop) or None,
            "logprobs": self._logprobs or None,
            "n": n if n > 1 else None,
        }
        return {
            "model": self.model,
            "messages": [message.as_json() for message in messages],
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "max_tokens": sampling.max_new_tokens,
            "seed": (sampling.seed + before) % _SEEDS,
            **{name: value for name, value in special.items() if value is not None},
        }

    def _choices(self, said: Mapping[str, Any]) -> list[Completion]:
        try:
            choices = [_completion(choice) for choice in said["choices"]]
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise self._odd(said) from error
        if not choices:
            raise self._odd(said)
        return choices

    def _odd(self, said: Mapping[str, Any]) -> MachineError:
        found = f"no choices in the form of a chat completion: {plain(dict(said), 120)}"
        return MachineError(Problem(self._server.address.url, found, "Give a server that speaks OpenAI's API."))


def _completion(choice: Mapping[str, Any]) -> Completion:
    text = _text(choice["message"].get("content"))
    given = (choice.get("logprobs") or {}).get("content") or ()
    # vLLM says which stop string it was; others say "stop" for the end token and a stop string alike.
    usual = Stop.STRING if isinstance(choice.get("stop_reason"), str) else Stop.EOS
    return Completion(
        text=text,
        stop=_STOPS.get(str(choice.get("finish_reason")), usual),
        logprobs=tuple(float(each["logprob"]) for each in given),
    )


def _text(content: Any) -> str:
    """What a message says: a text, none, or parts, of which those of text count. What is no character that a file can
    hold, half a surrogate pair or a NUL, is U+FFFD."""
    parts = content if isinstance(content, list) else [{"type": "text", "text": "" if content is None else content}]
    text = "".join(part["text"] for part in parts if part["type"] == "text")
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\x00", "\ufffd")


def _only_model(server: Server) -> str:
    url = server.address.url
    listed = server.get("/models").get("data")
    models = listed if isinstance(listed, list) else []
    names = [str(each.get("id")) for each in models if isinstance(each, dict)]
    if len(names) != 1:
        known = f"it has {', '.join(plain(name, 60) for name in names)}" if names else "it lists none"
        raise ConfigError(Problem(url, f"which of the server's models is not said; {known}", f"Write {url}#MODEL."))
    return names[0]
