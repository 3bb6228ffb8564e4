"""The gate's answer as data: JSON for machines, markdown for people."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.errors import IntegrityError, VersionMismatchError

FORMAT = 1
Decision = Literal["PASS", "FAIL", "INCONCLUSIVE"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A registered version by number and content digest, never by alias."""

    model: str
    version: int
    digest: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Line:
    """One rule and what came of it. rule: in words. effect, low, high: mean difference and its interval, None where
    the rule could not be computed. above: the bound. n: photos. reason: one sentence.
    """

    rule: str
    decision: Decision
    effect: float | None
    low: float | None
    high: float | None
    above: float
    n: int
    reason: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Verdict:
    """The decision on one candidate. champion: the version it was compared with. evaluation, champion_evaluation:
    content digests of the rows. gate: the whole GateConfig as plain data, so that the verdict explains itself.
    """

    decision: Decision
    candidate: Candidate
    champion: Candidate | None
    evaluation: str
    champion_evaluation: str | None
    gate: Mapping[str, Any]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Canonical JSON; equal verdicts have equal bytes."""
        return canonical_json({"format": FORMAT, **asdict(self)})

    @property
    def digest(self) -> str:
        return sha256_hex(self.to_bytes())

    @classmethod
    def from_bytes(cls, data: bytes, where: str) -> Verdict:
        """Read `to_bytes` back. where: what to call the bytes in an error (VersionMismatchError, IntegrityError)."""
        try:
            plain = json.loads(data)
            if plain.pop("format", None) != FORMAT:
                raise VersionMismatchError(f"The verdict at {where} is not of format {FORMAT}; run the gate again.")
            champion = plain.pop("champion")
            return cls(
                candidate=Candidate(**plain.pop("candidate")),
                champion=Candidate(**champion) if champion else None,
                lines=tuple(Line(**line) for line in plain.pop("lines")),
                notes=tuple(plain.pop("notes")),
                **plain,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise IntegrityError(f"The verdict at {where} cannot be read ({error}); run the gate again.") from error

    def sentence(self) -> str:
        """The decision and the numbers behind it, for an error message or a log line."""
        decisive = [line.reason for line in self.lines if line.decision == self.decision] or ["No rule was set."]
        who = f"{self.candidate.model} version {self.candidate.version}"
        return f"{who}: {self.decision}. " + " ".join(decisive)

    def markdown(self) -> str:
        """A page: the decision, one table row a rule, the notes."""
        against = f"champion version {self.champion.version}" if self.champion else "no champion yet"
        confidence = f"{self.gate.get('confidence', 0):.0%}"
        out = [
            f"# Gate: {self.decision}",
            "",
            f"{self.candidate.model} version {self.candidate.version} (`{self.candidate.digest[:12]}`), {against}. "
            f"Paired bootstrap over photos, {confidence} intervals; rows `{self.evaluation[:12]}`.",
            "",
            "| rule | effect | interval | bound | photos | decision |",
            "|---|---|---|---|---|---|",
        ]
        for line in self.lines:
            interval = "not computed" if line.low is None else f"{line.low:+.3f} to {line.high:+.3f}"
            effect = "not computed" if line.effect is None else f"{line.effect:+.3f}"
            out.append(f"| {line.rule} | {effect} | {interval} | {line.above:+.3f} | {line.n} | {line.decision} |")
        out += ["", *(f"- {line.reason}" for line in self.lines), *(f"- {note}" for note in self.notes)]
        return "\n".join(out) + "\n"
