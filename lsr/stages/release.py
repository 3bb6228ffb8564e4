"""*register* and *gate*: from measured results to a version that production may use.

The gate is arithmetic on recorded rows and takes version numbers, never aliases. The promotion log in the store is the
truth; MLflow's aliases are drawn from it afterwards.
"""

from __future__ import annotations

import getpass
import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.core.errors import ConflictError, NotFoundError
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.recipes.schema import Recipe
from lsr.stages.context import Context
from lsr.stages.evaluate import DEGRADED, read_evaluation
from lsr.stages.launch import build_request, launch
from lsr.stages.line import STEPS
from lsr.stages.results import read_trained
from lsr.store import Store, open_store

if TYPE_CHECKING:
    from lsr.evaluation.rows import Evaluation
    from lsr.evaluation.verdict import Candidate, Verdict
    from lsr.registry.lineage import Lineage
    from lsr.registry.versions import Version

SYSTEM = "lsr.system"
REFS = "lsr.refs"
VERDICT = "lsr.verdict"
PACKAGE_VERSION = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A version in the registry. made: whether it was made now."""

    name: str
    number: int
    digest: str
    made: bool

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.number, "digest": self.digest, "made": self.made}


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


def model_name(recipe: Recipe, settings: Settings) -> str:
    """The registered model's name, with the prefix that keeps dev, staging and prod apart."""
    return f"{settings.prefix}{recipe.model}"


def _system_identity(store: Store, refs: dict[str, Ref], task: str) -> str:
    """Digest over the weights and architecture that a version of these results holds."""
    decoder, unet = read_trained(store, refs["decoder"]), read_trained(store, refs["joint"])
    parts = [PACKAGE_VERSION, task, decoder.weights["ema"], unet.weights["ema"], unet.system, refs["latents"].digest]
    return sha256_hex(canonical_json(parts))


def register(recipe: Recipe, refs: dict[str, Ref], ctx: Context) -> Registered:
    """The version of the trained system; the one that is registered already when its weights are the same."""
    found = registered_version(recipe, refs, ctx)
    if found is not None:
        return Registered(name=found.name, number=found.number, digest=found.digest, made=False)
    identity = _system_identity(ctx.store, refs, recipe.task)
    return _register_new(recipe, refs, ctx, model_name(recipe, ctx.settings), identity)


def registered_version(recipe: Recipe, refs: dict[str, Ref], ctx: Context) -> Version | None:
    """The version that holds these trained weights, None before they are registered."""
    from lsr.registry.versions import list_versions

    identity = _system_identity(ctx.store, refs, recipe.task)
    versions = list_versions(ctx.settings.mlflow, model_name(recipe, ctx.settings))
    return next((version for version in versions if version.tags.get(SYSTEM) == identity), None)


def _register_new(recipe: Recipe, refs: dict[str, Ref], ctx: Context, name: str, identity: str) -> Registered:
    from lsr.registry.packaging import build_package
    from lsr.registry.versions import register as register_package
    from lsr.stages.assemble import assemble, pack

    packed = pack(assemble(ctx.store, refs))
    with ctx.run("register", identity) as run, tempfile.TemporaryDirectory() as folder:
        package = build_package(
            Path(folder) / "version",
            config=packed.config,
            weights=packed.weights,
            card=_card(recipe, refs, ctx, name),
            lineage=_lineage(recipe, refs, ctx, run, packed.weights),
        )
        tags = {SYSTEM: identity, REFS: json.dumps({n: r.as_dict() for n, r in refs.items()}, sort_keys=True)}
        version = register_package(ctx.settings.mlflow, name, package, run_id=run, tags=tags)
    return Registered(name=name, number=version.number, digest=version.digest, made=True)


def _lineage(recipe: Recipe, refs: dict[str, Ref], ctx: Context, run: str, weights: bytes) -> Lineage:
    from lsr.registry.lineage import Lineage, code_state, packages_digest

    sha, dirty = code_state(Path(__file__).parent)
    return Lineage(
        git_sha=sha,
        git_dirty=dirty,
        config=sha256_hex(canonical_json(as_plain(recipe))),
        raw=refs["snapshot"].digest,
        tiles=refs["tile"].digest,
        latents=refs["latents"].digest,
        autoencoder=refs["autoencoder"].digest,
        packages=packages_digest(),
        image=None,
        world_size=recipe.compute.workers,
        batch=recipe.joint.train.batch,
        seed=recipe.seed,
        mlflow_run=run,
        ray_submission=None,
        prefect_flow_run=ctx.provenance.get("prefect_flow_run"),
        evaluation=refs["evaluate"].digest,
        weights={"weights.safetensors": sha256_hex(weights)},
    )


def _card(recipe: Recipe, refs: dict[str, Ref], ctx: Context, name: str) -> str:
    from lsr.evaluation.report import markdown
    from lsr.registry.card import Card, Source

    evaluation, _ = read_evaluation(ctx.store, refs["evaluate"])
    return Card(
        name=name,
        task=recipe.task,
        facts={
            "recipe": recipe.name,
            "seed": str(recipe.seed),
            "steps of joint training": str(recipe.joint.train.steps),
        },
        sources=[Source(name=recipe.source.name, licence=licence_of(recipe.source.uri), origin=recipe.source.uri)],
        limits=["Trained on clean bicubic LR pictures; JPEG noise and blur are out of its domain."],
        report=markdown(evaluation),
    ).markdown()


def licence_of(uri: str) -> str:
    """The licence of a packaged set, `unknown` for every other source: only its owner knows it."""
    if not uri.startswith("set:"):
        return "unknown"
    from data_prep.sets import available

    return next((found.licence for found in available() if found.name == uri.removeprefix("set:")), "unknown")


def gate(
    recipe: Recipe, refs: dict[str, Ref], ctx: Context, *, version: int | None = None, again: bool = False
) -> Judged:
    """Judge a version (default: the recipe's own result) against the floor and the champion; promote it on PASS.

    again: promote it even if it was taken out of production before.

    Raises GateRefusedError when the gate is void (a deliberately degraded copy did not fail it), InputError when a
    held-out photograph was trained on, ConflictError when another promotion won.
    """
    from lsr.registry.promotion import champion, put_verdict, read_log
    from lsr.registry.versions import get_version, tag_version

    uri, name = ctx.settings.mlflow, model_name(recipe, ctx.settings)
    number = version if version is not None else register(recipe, refs, ctx).number
    subject = get_version(uri, name, number)
    known = _known_verdict(ctx.store, recipe, refs, subject)
    if known is not None:
        text = _promote_on_pass(recipe, ctx, subject, known, again)
        return Judged(decision=known.decision, version=number, alias=_mend(ctx, name, number), text=text, made=False)
    verdict = _judge(recipe, refs, ctx, subject, champion(read_log(ctx.store, name)))
    digest = put_verdict(ctx.store, verdict)
    tag_version(uri, subject, {VERDICT: digest})
    text = _promote_on_pass(recipe, ctx, subject, verdict, again)
    return Judged(decision=verdict.decision, version=number, alias=_mend(ctx, name, number), text=text, made=True)


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


def _mend(ctx: Context, name: str, number: int) -> str | None:
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


def _judge(recipe: Recipe, refs: dict[str, Ref], ctx: Context, subject: Version, seat: Any) -> Verdict:
    from lsr.evaluation.gate import judge, preflight, refuse_leakage
    from lsr.evaluation.verdict import Candidate

    evaluation, record = read_evaluation(ctx.store, refs["evaluate"])
    refuse_leakage(record["held_out"], _training_keys(ctx.store, refs["tile"]))
    candidate = Candidate(model=subject.name, version=subject.number, digest=subject.digest)
    against: dict[str, Any] = {"trained": recipe.evaluate.trained}
    if seat is not None and seat.digest != subject.digest:
        champion = Candidate(model=subject.name, version=seat.version, digest=seat.digest)
        against |= {"champion": champion, "champion_evaluation": _champions_rows(recipe, refs, ctx, champion)}
    preflight(_degraded(evaluation), recipe.gate, candidate, **against)
    return judge(evaluation, recipe.gate, candidate, **against)


def _champions_rows(recipe: Recipe, refs: dict[str, Ref], ctx: Context, champion: Candidate) -> Evaluation:
    """The champion measured on the candidate's pictures, with the candidate's protocol."""
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
    mixed = {name: refs[name] if name == "shard" else theirs[name] for name in STEPS["evaluate"].inputs}
    outcome = launch(build_request("evaluate", recipe, mixed), ctx)
    return read_evaluation(ctx.store, outcome.ref)[0]


def _degraded(evaluation: Evaluation) -> Evaluation:
    """The rows of the degraded copy in the place of ours: what the preflight must refuse."""
    rows = [row for row in evaluation.rows if row.system != "ours"]
    renamed = tuple(replace(row, system="ours") if row.system == DEGRADED else row for row in rows)
    return replace(evaluation, rows=renamed)


def _training_keys(store: Store, tiles: Ref) -> set[str]:
    """Keys of the photographs that tiles were cut from."""
    from lsr.data.manifest import load_manifest
    from lsr.data.shards import index_rows

    manifest = load_manifest(store, tiles.path)
    return {row.key.partition("-")[0] for row in index_rows(store, manifest)}


def list_runs(settings: Settings, limit: int) -> list[dict[str, Any]]:
    """Tracked runs, newest first, after runs whose process is gone were closed."""
    from lsr.registry.listing import recent_runs
    from lsr.registry.runs import close_orphans

    close_orphans(settings.mlflow)
    return recent_runs(settings.mlflow, limit)


def list_versions_of(settings: Settings, name: str | None) -> list[dict[str, Any]]:
    """Versions of one model or of all, with their aliases."""
    from lsr.registry.listing import model_names
    from lsr.registry.versions import aliases_of, list_versions

    rows = []
    for model in [name] if name else model_names(settings.mlflow):
        aliases = aliases_of(settings.mlflow, model)
        for version in list_versions(settings.mlflow, model):
            held = sorted(alias for alias, number in aliases.items() if number == version.number)
            rows.append(
                {"name": model, "version": version.number, "aliases": ", ".join(held), "digest": version.digest}
            )
    return rows


def promotion_log(settings: Settings, name: str) -> list[dict[str, Any]]:
    """The promotion log of a model, oldest first."""
    from dataclasses import asdict

    from lsr.registry.promotion import read_log

    return [asdict(record) for record in read_log(open_store(settings.store), name)]


def roll_back(settings: Settings, name: str, reason: str, to: int | None = None) -> dict[str, Any]:
    """Return to the champion before today's, or to the earlier champion `to`."""
    from dataclasses import asdict

    from lsr.registry.aliases import reconcile
    from lsr.registry.promotion import rollback

    store = open_store(settings.store)
    record = rollback(store, name, who=getpass.getuser(), reason=reason, to=to)
    reconcile(store, settings.mlflow, name)
    return asdict(record)


def retire_champion(settings: Settings, name: str, reason: str) -> dict[str, Any]:
    """Take the champion out of production with nobody in its place."""
    from dataclasses import asdict

    from lsr.registry.aliases import reconcile
    from lsr.registry.promotion import retire

    store = open_store(settings.store)
    record = retire(store, name, who=getpass.getuser(), reason=reason)
    reconcile(store, settings.mlflow, name)
    return asdict(record)


def mend_aliases(settings: Settings, name: str) -> list[str]:
    """What had to change for MLflow's aliases to agree with the log."""
    from lsr.registry.aliases import reconcile

    return [str(change) for change in reconcile(open_store(settings.store), settings.mlflow, name)]
