"""The flow *retrain*: from raw photos to a gated, registered model and batch inference.

Every task is one stage; its input and output are small references. Runs on a schedule as a deployment
(infra/prefect), from the command line (`lsr retrain`), or as a plain call.
"""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from flows.forms import RecipeChanges, RunChanges, given
from flows.report import Report
from lsr.core.config import assignments_of, override
from lsr.core.errors import StoreError, TrainingStoppedError
from lsr.core.progress import Quiet, RichProgress
from lsr.core.refs import Ref
from lsr.core.settings import load_settings
from lsr.engine.context import Context, open_context
from lsr.engine.launch import Outcome, launch
from lsr.engine.source import begin
from lsr.engine.table import PIPELINE, inputs_of, request_of
from lsr.recipes import load_recipe
from lsr.recipes.run import load_run
from lsr.recipes.schema import Recipe


def _worth_a_retry(task: Any, run: Any, state: Any) -> bool:
    """The store or a service was away for a moment, or a training was told to stop and saved its state (exit code 75);
    a bad recipe or bad data is not cured by trying again.
    """
    try:
        state.result()
    except (StoreError, TrainingStoppedError):
        return True
    except BaseException:
        return False
    return False


_AGAIN: dict[str, Any] = {"retries": 2, "retry_delay_seconds": 5, "retry_condition_fn": _worth_a_retry}


@task(task_run_name="{stage}", cache_policy=NO_CACHE, **_AGAIN)
def run_stage(stage: str, recipe: Recipe, inputs: dict[str, Ref], ctx: Context) -> Outcome:
    """One stage of the pipeline: reused, made here, or made by a Ray job."""
    outcome = launch(request_of(PIPELINE[stage], recipe, ctx.run, inputs), ctx)
    get_run_logger().info("%s %s: %s", stage, "made" if outcome.made else "reused", outcome.ref.path)
    return outcome


@task(task_run_name="release", cache_policy=NO_CACHE)
def run_release(recipe: Recipe, refs: dict[str, Ref], ctx: Context, report: Report) -> None:
    """Register the trained system, judge it, promote it on PASS."""
    from lsr.stages.gate import gate
    from lsr.stages.register import register

    version, seconds, made = report.timed(lambda: register(recipe, refs, ctx))
    report.registered(version, seconds, made)
    verdict, seconds, made = report.timed(lambda: gate(recipe, refs, ctx, version=version.number))
    report.judged(verdict, seconds, made)


@task(task_run_name="infer", cache_policy=NO_CACHE, **_AGAIN)
def run_infer(recipe: Recipe, ctx: Context, report: Report) -> None:
    """Batch inference with whatever version the alias names now."""
    from lsr.stages.infer import infer

    result, seconds, made = report.timed(lambda: infer(recipe, ctx))
    report.inferred(result, seconds, made)


@task(task_run_name="report", cache_policy=NO_CACHE)
def run_report(recipe: Recipe, refs: dict[str, Ref], ctx: Context, report: Report) -> None:
    """The report page, beside the images and in MLflow."""
    from lsr.tools.page import publish

    report.published(publish(recipe, refs, ctx))


@flow(name="retrain", validate_parameters=False, persist_result=False)
def retrain(
    recipe: str = "demo",
    changes: RecipeChanges | None = None,
    run: str = "laptop",
    run_changes: RunChanges | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """Run the pipeline of `recipe` as `run` says (names, or package.module:function), with the given fields of both
    changed.

    Returns the report: stages made or reused with their seconds, the registered version, the verdict, the metrics.
    """
    named, named_run = load_recipe(recipe), load_run(run)
    chosen = override(named, assignments_of(named, given(changes)))
    how = override(named_run, assignments_of(named_run, given(run_changes)), what="run")
    settings = load_settings()
    flow_run = FlowRunContext.get()
    provenance = {"prefect_flow_run": str(flow_run.flow_run.id)} if flow_run and flow_run.flow_run else {}
    progress = Quiet() if quiet else RichProgress()
    report = Report(chosen, settings)
    with open_context(settings, how, pipeline=chosen.name, progress=progress, provenance=provenance) as ctx:
        refs = begin(chosen, ctx)
        for name, step in PIPELINE.items():
            outcome = run_stage(name, chosen, inputs_of(step, chosen, refs), ctx)
            refs[name] = outcome.ref
            report.stage(outcome)
        report.evaluated(refs["evaluate"], ctx)
        run_release(chosen, refs, ctx, report)
        if chosen.infer is not None and report.promoted:
            run_infer(chosen, ctx, report)
        run_report(chosen, refs, ctx, report)
    if report.page is not None:
        create_link_artifact(report.page.link, link_text="report.html", key="retrain-page", description=chosen.name)
    create_markdown_artifact(report.markdown(), key="retrain-report", description=f"Recipe {chosen.name}")
    if not quiet:
        report.show()
    return report.as_dict()
