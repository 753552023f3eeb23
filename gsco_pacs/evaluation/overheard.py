"""A generalist whose every answer is kept, so that calls can be counted and first answers judged."""

from collections.abc import Sequence

from gsco_pacs.domain.findings import Answer, Briefing, ModelIdentity
from gsco_pacs.ports import Generalist, Picture


class Overheard:
    """A generalist that is overheard: its answers are kept in their order."""

    def __init__(self, inner: Generalist) -> None:
        self._inner = inner
        self.answers: list[Answer] = []

    @property
    def identity(self) -> ModelIdentity:
        """That of the generalist itself."""
        return self._inner.identity

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:
        """The answer of the generalist itself."""
        self.answers.append(self._inner.answer(briefing, pictures))
        return self.answers[-1]
