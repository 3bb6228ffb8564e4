"""*gate*: the verdict on a registered version, and its promotion.

The gate is arithmetic on recorded rows and takes version numbers, never aliases. The promotion log in the store is the
truth; MLflow's aliases are drawn from it afterwards.
"""

from __future__ import annotations

import getpass
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lsr.core.config import as_plain
from lsr.core.errors import ConflictError, NotFoundError
from lsr.core.refs import Ref
from lsr.engine.context import Context
from lsr.engine.launch import launch
from lsr.engine.table import EVALUATE, request_of
from lsr.recipes.schema import Recipe
from lsr.stages.evaluate import DEGRADED, read_evaluation
from lsr.stages.register import REFS, model_name, register
from lsr.store import Store
from lsr.store.roots import PHOTOS

if TYPE_CHECKING:
    from lsr.evaluation.rows import Evaluation
    from lsr.evaluation.verdict import Candidate, Verdict
    from lsr.registry.versions import Version

VERDICT = "lsr.verdict"


@dataclass(frozen=True, kw_only=True, slots=True)
class Judged:
    """What the gate said and what came of it. alias: the one the version has now. made: whether it was judged now."""

    decision: str
    version: int
    alias: str | None
    text: str
    made: bool

    def as_dict(self) -> dict[str, Any]:
        return {"decision": self.decision, "version": self.version, "alias": self.alias, "text": self.text}


def gate(
    recipe: Recipe, refs: dict[str, Ref], ctx: Context, *, version: int | None = None, again: bool = False
) -> Judged:
    """Judge a version (default: the recipe's own result) against the floor and the champion; promote it on PASS.

    again: promote it even if it was taken out of production before.

    Raises GateRejectedError when the gate is void (a deliberately degraded copy did not fail it), InputError when a
    held-out photo was trained on, ConflictError when another promotion won.
    """
    from lsr.registry.promotion import champion, put_verdict, read_log
    from lsr.registry.versions import get_version, tag_version

    uri, name = ctx.settings.mlflow, model_name(recipe, ctx.settings)
    number = version if version is not None else register(recipe, refs, ctx).number
    subject = get_version(uri, name, number)
    known = _known_verdict(ctx.store, recipe, refs, subject)
    if known is not None:
        text = _promote_on_pass(recipe, ctx, subject, known, again)
        return Judged(decision=known.decision, version=number, alias=_repair(ctx, name, number), text=text, made=False)
    verdict = _judge(recipe, refs, ctx, subject, champion(read_log(ctx.store, name)))
    digest = put_verdict(ctx.store, verdict)
    tag_version(uri, subject, {VERDICT: digest})
    text = _promote_on_pass(recipe, ctx, subject, verdict, again)
    return Judged(decision=verdict.decision, version=number, alias=_repair(ctx, name, number), text=text, made=True)


def _promote_on_pass(recipe: Recipe, ctx: Context, subject: Version, verdict: Verdict, again: bool) -> str:
    """Promote unless it is champion already; the verdict in words, with the reason where it was not promoted."""
    from lsr.registry.promotion import champion, promote, read_log

    today = champion(read_log(ctx.store, subject.name))
    if verdict.decision != "PASS" or (today is not None and today.digest == subject.digest):
        return verdict.sentence()
    try:
        reason = f"gate of recipe {recipe.name}"
        promote(ctx.store, subject, verdict.digest, who=getpass.getuser(), reason=reason, again=again)
    except ConflictError as error:
        return f"{verdict.sentence()} Not promoted: {error}"
    return verdict.sentence()


def _repair(ctx: Context, name: str, number: int) -> str | None:
    from lsr.registry.aliases import reconcile
    from lsr.registry.versions import aliases_of

    reconcile(ctx.store, ctx.settings.mlflow, name)
    held = [alias for alias, found in aliases_of(ctx.settings.mlflow, name).items() if found == number]
    return ", ".join(sorted(held)) or None


def _known_verdict(store: Store, recipe: Recipe, refs: dict[str, Ref], version: Version) -> Verdict | None:
    """The verdict that this version carries, if it was given by the same gate on the same measurement."""
    from lsr.registry.promotion import get_verdict

    digest = version.tags.get(VERDICT)
    if digest is None:
        return None
    verdict = get_verdict(store, digest)
    evaluation, _ = read_evaluation(store, refs["evaluate"])
    same = verdict.gate == as_plain(recipe.gate) and verdict.evaluation == evaluation.digest
    return verdict if same else None


def _judge(recipe: Recipe, refs: dict[str, Ref], ctx: Context, subject: Version, held: Any) -> Verdict:
    from lsr.evaluation.gate import judge, preflight, reject_leakage
    from lsr.evaluation.verdict import Candidate

    evaluation, record = read_evaluation(ctx.store, refs["evaluate"])
    reject_leakage(record.extra[PHOTOS], _training_keys(ctx.store, refs["tile"]))
    candidate = Candidate(model=subject.name, version=subject.number, digest=subject.digest)
    against: dict[str, Any] = {"trained": recipe.evaluate.trained}
    if held is not None and held.digest != subject.digest:
        champion = Candidate(model=subject.name, version=held.version, digest=held.digest)
        against |= {"champion": champion, "champion_evaluation": _champions_rows(recipe, refs, ctx, champion)}
    preflight(_degraded(evaluation), recipe.gate, candidate, **against)
    return judge(evaluation, recipe.gate, candidate, **against)


def _champions_rows(recipe: Recipe, refs: dict[str, Ref], ctx: Context, champion: Candidate) -> Evaluation:
    """The champion measured on the candidate's images, with the candidate's protocol."""
    from lsr.registry.versions import list_versions

    found = {v.digest: v.tags for v in list_versions(ctx.settings.mlflow, champion.model)}
    if champion.digest not in found:
        raise NotFoundError(
            f"The promotion log says that version {champion.version} ({champion.digest[:12]}) of {champion.model} is "
            "champion, but the registry does not have it: its database was replaced. Restore it, or run "
            f"`lsr models retire {champion.model} --reason ...`, after which the next version needs the floor only."
        )
    tags = found[champion.digest]
    theirs = {name: Ref(**plain) for name, plain in json.loads(tags[REFS]).items()}
    mixed = {name: refs[name] if name == "shard" else theirs[name] for name in EVALUATE.inputs}
    outcome = launch(request_of(EVALUATE, recipe, ctx.run, mixed), ctx)
    return read_evaluation(ctx.store, outcome.ref)[0]


def _degraded(evaluation: Evaluation) -> Evaluation:
    """The rows of the degraded copy in the place of ours: what the preflight must reject."""
    rows = [row for row in evaluation.rows if row.system != "ours"]
    renamed = tuple(replace(row, system="ours") if row.system == DEGRADED else row for row in rows)
    return replace(evaluation, rows=renamed)


def _training_keys(store: Store, tiles: Ref) -> set[str]:
    """Keys of the photos that tiles were cut from."""
    from lsr.data.manifest import load_manifest
    from lsr.data.shards import index_rows

    manifest = load_manifest(store, tiles.path)
    return {row.key.partition("-")[0] for row in index_rows(store, manifest)}
