"""Which studies are read, by whom, and how the generalist is asked."""

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from gsco_pacs.conditions import Condition, Settings
from gsco_pacs.domain.findings import Mode
from gsco_pacs.settings.priors import PriorRule
from gsco_pacs.settings.settle import Expectation
from gsco_pacs.settings.values import Name, Seconds, Share

Saliency = Literal["none", "capture", "capture+map"]


class GateSettings(Settings):
    """When the generalist is asked."""

    policy: Literal["always", "when_unsure", "never"] = "always"
    """`when_unsure` asks only if one of the thresholds below is missed or the specialists contradict each other."""
    confident_from: Share = 0.8
    """Probability from which the leading class, or a finding between its thresholds (or its absence), counts as sure."""
    agreeing_cases: Share = 0.3
    """Share of the similar cases that must agree with what the specialists hold."""
    similar_from: Annotated[float, Field(ge=-1, le=1)] | None = None
    """Similarity from which the nearest reference cases count as near; without it each bundle's own `familiar_from`."""


class RouteSettings(Settings):
    """Which studies are read, by whom, and where the reports go; the first route that matches is taken."""

    name: Name
    """What the record calls it."""
    when: Condition
    """The condition on the study."""
    specialists: tuple[Name, ...] = Field(min_length=1)
    """Bundles that are consulted, by directory name."""
    generalist: Name = "structured"
    """One of `generalists`."""
    mode: Mode = Mode.MOED_RAD
    """What the generalist is told: `specialists` (it is not asked), `generalist` (nothing), `moed`, `rad`, `moed+rad`."""
    template: Literal["gsco", "gsco-single", "options", "options-single", "briefed"] = "briefed"
    """The prompt: `gsco` is the published one (bare labels), `options` ours for a diagnosis with all members' probabilities (each `-single` if exactly one option applies), `briefed` asks for a report."""
    question_template: Literal["question", "question-briefed"] = "question"
    """The prompt of `gsco-pacs ask`: `question` for a model that follows instructions, `question-briefed` is what `models/small_generalist` has learnt."""
    also: tuple[Literal[Mode.GENERALIST, Mode.MOED, Mode.RAD, Mode.MOED_RAD], ...] = ()
    """Modes in which the generalist is asked too, whatever the gate says; the answers are stored and shown, not drafted from."""
    gate: GateSettings = GateSettings()
    """When the generalist is asked."""
    similar_cases: Annotated[int, Field(ge=0, le=100)] = 10
    """How many similar cases are recalled from each specialist's index."""
    saliency: Saliency = "capture"
    """Where the specialists looked for what they hold present: `none`, a `capture` for the eye, `capture+map` also as numbers."""
    priority: Literal["stat", "routine"] = "routine"
    """Stat studies overtake routine ones in every stage."""
    quiet_seconds: Seconds | None = None
    """Overrides settle.quiet_seconds (10 is usual for stat)."""
    deadline_seconds: Seconds | None = None
    """Overrides settle.deadline_seconds."""
    ask: Name | None = None
    """One of `archives`: asked how many instances it holds; a study closes early when as many are here, and is held open while fewer are."""
    expects: tuple[Expectation, ...] = ()
    """What every study of the route has; it closes early when all is here and is held open to the deadline while not."""
    priors: PriorRule | None = None
    """Earlier studies that are fetched to be compared with."""
    destinations: tuple[Name, ...] = Field(min_length=1)
    """Where the reports go, by name."""

    @property
    def sha256(self) -> str:
        """Hash of these settings, for the record."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()
