"""A generalist without a language model: it adds no words, so the draft is worded from the opinions alone."""

from collections.abc import Sequence

from gsco_pacs.domain.findings import Answer, Briefing, ModelIdentity
from gsco_pacs.grounding.wording import wording_identity
from gsco_pacs.ports import Picture


class StructuredGeneralist:
    """Stands where no vision-language model is set up; needs no weights, no memory and no network."""

    identity: ModelIdentity = wording_identity()

    def answer(self, briefing: Briefing, pictures: Sequence[Picture]) -> Answer:  # noqa: ARG002 - the port's signature
        """No words of its own: the drafting step words the opinions."""
        return Answer(text="", model=self.identity, image_seen=False)
