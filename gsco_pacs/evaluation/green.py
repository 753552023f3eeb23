"""GREEN of reports (Ostmeier et al. 2024): a language model, given by path, names the errors of a report, and they are counted."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from gsco_pacs.adapters.checkpoints import NUMBERS_ONLY
from gsco_pacs.evaluation.checkpoint_files import need, published

_LONGEST_REPORT = 300
"""Words of a report that the model was trained to read."""
_LONGEST = 2048
"""Tokens of question and answer."""
_SECTION = r"\[{}\]:\s*(.*?)(?:\n\s*\n|\Z)"
_ERRORS, _MATCHES = "Clinically Significant Errors", "Matched Findings"
_PROMPT = """\
Objective: Evaluate the accuracy of a candidate radiology report in comparison to a reference radiology report \
composed by expert radiologists.

    Process Overview: You will be presented with:

    1. The criteria for making a judgment.
    2. The reference radiology report.
    3. The candidate radiology report.
    4. The desired format for your assessment.

    1. Criteria for Judgment:

    For each candidate report, determine:

    The count of clinically significant errors.
    The count of clinically insignificant errors.

    Errors can fall into one of these categories:

    a) False report of a finding in the candidate.
    b) Missing a finding present in the reference.
    c) Misidentification of a finding's anatomic location/position.
    d) Misassessment of the severity of a finding.
    e) Mentioning a comparison that isn't in the reference.
    f) Omitting a comparison detailing a change from a prior study.
    Note: Concentrate on the clinical findings rather than the report's writing style. Evaluate only the findings \
that appear in both reports.

    2. Reference Report:
    {reference}

    3. Candidate Report:
    {said}

    4. Reporting Your Assessment:

    Follow this specific format for your output, even if no errors are found:
    ```
    [Explanation]:
    <Explanation>

    [Clinically Significant Errors]:
    (a) <Error Type>: <The number of errors>. <Error 1>; <Error 2>; ...; <Error n>
    ....
    (f) <Error Type>: <The number of errors>. <Error 1>; <Error 2>; ...; <Error n>

    [Clinically Insignificant Errors]:
    (a) <Error Type>: <The number of errors>. <Error 1>; <Error 2>; ...; <Error n>
    ....
    (f) <Error Type>: <The number of errors>. <Error 1>; <Error 2>; ...; <Error n>

    [Matched Findings]:
    <The number of matched findings>. <Finding 1>; <Finding 2>; ...; <Finding n>
    ```
"""
"""The question that the published models were trained on, to the letter (github.com/Stanford-AIMI/GREEN, MIT)."""


class Green:
    """Asks the model about each pair of reports."""

    def __init__(self, folder: Path) -> None:
        """``folder`` holds a GREEN model as Hugging Face's library saves it; ConfigError if not."""
        need(folder, "GREEN", "config.json")
        self._device = "cuda" if torch.cuda.is_available() else "cpu"
        with published(folder, "GREEN"):
            self._tokenizer = AutoTokenizer.from_pretrained(folder, **NUMBERS_ONLY)
            model = AutoModelForCausalLM.from_pretrained(folder, dtype="auto", **NUMBERS_ONLY)
            self._model = model.eval().to(self._device)

    def figures(self, said: Sequence[str], references: Sequence[str]) -> dict[str, float]:
        """The mean over the reports."""
        pairs = zip(said, references, strict=True)
        return {"GREEN": float(np.mean([score(self.analysis(one, other)) for one, other in pairs]))}

    @torch.inference_mode()
    def analysis(self, said: str, reference: str) -> str:
        """What the model writes about ``said``."""
        asked = question(said, reference, self._tokenizer.eos_token)
        read = self._tokenizer(asked, return_tensors="pt", truncation=True, max_length=_LONGEST - 1).to(
            self._device
        )
        written = self._model.generate(
            input_ids=read["input_ids"],
            attention_mask=read["attention_mask"],
            max_length=_LONGEST,
            do_sample=False,
            pad_token_id=self._tokenizer.eos_token_id,
        )
        new = written[0, read["input_ids"].shape[1] :]
        return str(self._tokenizer.decode(new, skip_special_tokens=True))


def question(said: str, reference: str, end: str) -> str:
    """The published chat: the question, and an empty answer before the one that is asked for."""
    shown, right = (" ".join(text.split()[:_LONGEST_REPORT]) for text in (said, reference))
    prompt = _PROMPT.format(said=shown, reference=right)
    return f"<|user|>\n{prompt}{end}\n<|assistant|>\n{end}\n<|assistant|>\n"


def score(analysis: str) -> float:
    """Matched findings over matched findings and clinically significant errors; 0 if nothing matches or can be read."""
    found = re.match(r"(\d+)\.", _section(analysis, _MATCHES))
    matches = int(found[1]) if found else 0
    return matches / (matches + significant_errors(analysis)) if matches else 0.0


def significant_errors(analysis: str) -> int:
    """The errors of all kinds, (a) to (f) or (1) to (6), each as its last line with a count says."""
    written = _section(analysis, _ERRORS)
    lines = re.findall(r"\(([a-f])\) (.*)", written) or re.findall(r"\(([1-6])\) (.*)", written)
    counts = {kind: int(count[1]) for kind, line in sorted(lines) if (count := re.search(r": (\d+)\.", line))}
    return sum(counts.values())


def _section(analysis: str, name: str) -> str:
    """What stands under a heading; nothing where the model says that there is nothing."""
    found = re.search(_SECTION.format(re.escape(name)), analysis, re.DOTALL)
    return "" if found is None or found[1].startswith("No") else found[1]
