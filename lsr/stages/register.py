"""*register*: from measured results to a version of the registered model."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lsr.core.canonical import canonical_json, sha256_hex
from lsr.core.config import as_plain
from lsr.core.refs import Ref
from lsr.core.settings import Settings
from lsr.diffusion.config import SamplerConfig
from lsr.engine.context import Context
from lsr.recipes.schema import Recipe
from lsr.stages.evaluate import read_evaluation
from lsr.stages.model_card import UNKNOWN, model_card
from lsr.stages.provenance import lineage_of
from lsr.stages.trained import read_trained
from lsr.store import Store

if TYPE_CHECKING:
    from lsr.registry.versions import Version

SYSTEM = "lsr.system"
REFS = "lsr.refs"
PACKAGE_VERSION = 5


@dataclass(frozen=True, kw_only=True, slots=True)
class Registered:
    """A version in the registry. made: whether it was made now."""

    name: str
    number: int
    digest: str
    made: bool

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.number, "digest": self.digest, "made": self.made}


def model_name(recipe: Recipe, settings: Settings) -> str:
    """The registered model's name, with the prefix that keeps dev, staging and prod apart."""
    return f"{settings.prefix}{recipe.model}"


def _system_identity(store: Store, refs: dict[str, Ref], recipe: Recipe) -> str:
    """Digest over the weights, architecture and default sampler that a version of these results holds."""
    decoder, unet = read_trained(store, refs["decoder"]), read_trained(store, refs["joint"])
    weights = [trained.weights["ema"].path for trained in (decoder, unet)]
    sampler = as_plain(_default_sampler(recipe))
    parts = [PACKAGE_VERSION, recipe.task, *weights, unet.system, refs["latents"].digest, sampler]
    return sha256_hex(canonical_json(parts))


def _default_sampler(recipe: Recipe) -> SamplerConfig:
    """How a version draws images unless a request says otherwise: as the gate judges it, from the usual seed."""
    return replace(recipe.evaluate.sampler, seed=SamplerConfig().seed)


def register(recipe: Recipe, refs: dict[str, Ref], ctx: Context) -> Registered:
    """The version of the trained system; the one that is registered already when its weights are the same."""
    found = registered_version(recipe, refs, ctx)
    if found is not None:
        return Registered(name=found.name, number=found.number, digest=found.digest, made=False)
    identity = _system_identity(ctx.store, refs, recipe)
    return _register_new(recipe, refs, ctx, model_name(recipe, ctx.settings), identity)


def registered_version(recipe: Recipe, refs: dict[str, Ref], ctx: Context) -> Version | None:
    """The version that holds these trained weights, None before they are registered."""
    from lsr.registry.versions import list_versions

    identity = _system_identity(ctx.store, refs, recipe)
    versions = list_versions(ctx.settings.mlflow, model_name(recipe, ctx.settings))
    return next((version for version in versions if version.tags.get(SYSTEM) == identity), None)


def _register_new(recipe: Recipe, refs: dict[str, Ref], ctx: Context, name: str, identity: str) -> Registered:
    from lsr.registry.packaging import build_package
    from lsr.registry.versions import register as register_package
    from lsr.stages.assemble import assemble, pack

    evaluation, _ = read_evaluation(ctx.store, refs["evaluate"])
    packed = pack(assemble(ctx.store, refs), _default_sampler(recipe))
    with ctx.tracked("register", identity) as run, tempfile.TemporaryDirectory() as folder:
        package = build_package(
            Path(folder) / "version",
            config=packed.config,
            weights=packed.weights,
            card=model_card(name, recipe, evaluation, licence_of(recipe.source.uri)),
            lineage=lineage_of(
                ctx.store, recipe, refs, ids={**ctx.provenance, "mlflow_run": run}, weights=packed.weights
            ).to_bytes(),
        )
        tags = {SYSTEM: identity, REFS: json.dumps({n: r.as_dict() for n, r in refs.items()}, sort_keys=True)}
        version = register_package(ctx.settings.mlflow, name, package, run_id=run, tags=tags)
    return Registered(name=name, number=version.number, digest=version.digest, made=True)


def licence_of(uri: str) -> str:
    """The licence of a packaged set, UNKNOWN for every other source: only its owner knows it."""
    if not uri.startswith("set:"):
        return UNKNOWN
    from lsr.assets import available

    return next((found.licence for found in available() if found.name == uri.removeprefix("set:")), UNKNOWN)
