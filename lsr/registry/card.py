"""The model card: what a version is, what it was made from, how good it is, under which licences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LOADING = {
    "super-resolution": 'model.predict(pandas.DataFrame({"image": [open("photo.png", "rb").read()], "scale": [3.7]}))',
    "generation": 'model.predict(pandas.DataFrame({"side": [128], "seed": [7]}))',
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Data that the model was trained on. licence: as its owner states it, `unknown` where they do not."""

    name: str
    licence: str
    origin: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Card:
    """A model card. facts: architecture and training in a few lines, by name. report: markdown of its evaluation,
    empty when it was registered before it was evaluated. domain: sentences on what it was made for. limits: sentences
    on what it cannot do.
    """

    name: str
    task: str
    facts: Mapping[str, str]
    sources: Sequence[Source]
    domain: Sequence[str] = ()
    limits: Sequence[str] = ()
    report: str = ""

    def markdown(self) -> str:
        """The card as a page."""
        loading = LOADING.get(self.task, "model.predict(...)")
        sources = [f"| {s.name} | {s.licence} | {s.origin or '-'} |" for s in self.sources]
        parts = [
            f"# {self.name}",
            f"Arbitrary-scale {self.task} by latent diffusion and an implicit neural decoder.",
            "\n".join(f"- {name}: {value}" for name, value in self.facts.items()),
            "## Training data and licences",
            "\n".join(["| data | licence | origin |", "|---|---|---|", *sources]),
            *_section("Domain", self.domain),
            *_section("Limits", self.limits),
            # One level down: the report is a page of its own elsewhere.
            *(["#" + self.report.strip()] if self.report else []),
            "## Use",
            "In an environment made from `requirements.txt`:",
            f'```python\nimport mlflow, pandas\n\nmodel = mlflow.pyfunc.load_model("models:/{self.name}/VERSION")\n'
            f"png = {loading}[0]\n```",
            "Files are listed with their sha256 in `files.json`, where the version comes from is in `lineage.json`.",
        ]
        return "\n\n".join(part for part in parts if part) + "\n"


def _section(heading: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {heading}", "\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []
