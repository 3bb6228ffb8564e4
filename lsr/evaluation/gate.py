"""The gate: pure arithmetic from rows and rules to a verdict.

PASS needs the lower bound of every rule above its limit; one upper bound below its limit is FAIL; anything else,
a metric that was not computed among it, is INCONCLUSIVE, which is not a pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from lsr.core.config import as_plain
from lsr.core.errors import ConfigError, GateRejectedError, InputError
from lsr.evaluation.bootstrap import bootstrap, by_photo
from lsr.evaluation.config import GateConfig, Rule
from lsr.evaluation.metrics import metric
from lsr.evaluation.rows import Evaluation, Row
from lsr.evaluation.verdict import Candidate, Decision, Line, Verdict

SUBJECT = "ours"
FEW_PHOTOS = 20
NONE_AT_REFERENCE = frozenset({"scale_ssim", "self_ssim"})
"""Metrics that compare with a reference size and so have no value there."""


def reject_leakage(held_out: Iterable[str], training: Iterable[str]) -> None:
    """Raise InputError when a photo that is measured was also trained on. Both: photo keys."""
    seen = sorted(set(held_out) & set(training))
    if seen:
        raise InputError(
            f"{len(seen)} evaluation photo(s) are in the training set, e.g. {seen[0]}; a verdict on them would be "
            "void. Evaluate on held-out photos or train on a set without them."
        )


def judge(
    evaluation: Evaluation,
    config: GateConfig,
    candidate: Candidate,
    *,
    trained: tuple[float, float],
    champion: Candidate | None = None,
    champion_evaluation: Evaluation | None = None,
) -> Verdict:
    """The verdict on `candidate`, whose rows are those of system `ours` in `evaluation`.

    trained: scales (low, high) that rules call in-range. champion: today's, with its rows on the very same images
    in `champion_evaluation`; rules against the champion apply only when there is one. Raises InputError when the two
    evaluations do not measure the same images, ConfigError when only one of the champion's arguments is given.
    """
    if (champion is None) != (champion_evaluation is None):
        raise ConfigError("The gate needs the champion and its evaluation together, or neither.")
    theirs = _subject_rows(champion_evaluation.rows, "champion's") if champion_evaluation else []
    ours = _subject_rows(evaluation.rows, "candidate's")
    if champion_evaluation:
        _reject_other_protocol(evaluation, champion_evaluation)
        _reject_other_images(ours, theirs)
    rules = [*config.floor, *(config.against_champion if champion else ())]
    lines = []
    for rule in rules:
        others = theirs if rule.reference == "champion" else [r for r in evaluation.rows if r.system == rule.reference]
        lines.append(_judge_rule(rule, ours, others, config, trained))
    return Verdict(
        decision=_together(lines),
        candidate=candidate,
        champion=champion,
        evaluation=evaluation.digest,
        champion_evaluation=champion_evaluation.digest if champion_evaluation else None,
        gate=as_plain(config),
        lines=tuple(lines),
        notes=(*evaluation.notes, *_warnings(ours)),
    )


def preflight(
    degraded: Evaluation,
    config: GateConfig,
    candidate: Candidate,
    *,
    trained: tuple[float, float],
    champion: Candidate | None = None,
    champion_evaluation: Evaluation | None = None,
) -> Verdict:
    """Prove that this gate can reject: `degraded` holds the rows of a deliberately worse copy of the candidate, which
    must FAIL. Returns that verdict. Raises GateRejectedError otherwise: the gate is void and may promote nothing.
    """
    verdict = judge(
        degraded, config, candidate, trained=trained, champion=champion, champion_evaluation=champion_evaluation
    )
    if verdict.decision != "FAIL":
        raise GateRejectedError(
            f"The gate is void: a deliberately degraded copy came out {verdict.decision} instead of FAIL. "
            "Tighten the rules or evaluate on more photos; nothing was promoted."
        )
    return verdict


def _subject_rows(rows: Sequence[Row], whose: str) -> list[Row]:
    found = [row for row in rows if row.system == SUBJECT]
    if not found:
        raise InputError(f"The {whose} evaluation has no rows of system {SUBJECT!r}; evaluate it again.")
    return found


def _reject_other_protocol(ours: Evaluation, theirs: Evaluation) -> None:
    mine, other = ((e.protocol, e.version) for e in (ours, theirs))
    if mine != other:
        raise InputError(
            f"Candidate and champion were measured under protocols {mine[0]} version {mine[1]} and {other[0]} version "
            f"{other[1]}; evaluate both under one."
        )


def _reject_other_images(ours: Sequence[Row], theirs: Sequence[Row]) -> None:
    mine, other = {row.place for row in ours}, {row.place for row in theirs}
    if mine != other:
        raise InputError(
            f"Candidate and champion were not measured on the same images ({len(mine - other)} only the candidate, "
            f"{len(other - mine)} only the champion); evaluate both with the same held-out set and scales."
        )


def _together(lines: Iterable[Line]) -> Decision:
    decisions = {line.decision for line in lines}
    if "FAIL" in decisions:
        return "FAIL"
    return "PASS" if decisions == {"PASS"} else "INCONCLUSIVE"


def _warnings(ours: Sequence[Row]) -> list[str]:
    photos = len({row.photo for row in ours})
    if photos >= FEW_PHOTOS:
        return []
    return [
        f"{photos} photos are few: a percentile interval covers less than its name below {FEW_PHOTOS}; "
        "raise evaluate.photos before trusting a narrow margin."
    ]


def in_words(rule: Rule) -> str:
    """`psnr - bicubic > -3 (in-range)`; the sign is turned where lower is better."""
    name = f"-{rule.metric}" if metric(rule.metric).lower else rule.metric
    against = "" if rule.reference == "none" else f" - {rule.reference}"
    if against and metric(rule.metric).lower:
        name, against = rule.reference, f" - {rule.metric}"
    return f"{name}{against} > {rule.above:g} ({rule.scope})"


def _in_scope(rule: Rule, rows: Sequence[Row], trained: tuple[float, float]) -> list[Row]:
    if rule.scope == "all":
        return list(rows)
    return [row for row in rows if (trained[0] <= row.scale <= trained[1]) == (rule.scope == "in-range")]


def _differences(rule: Rule, ours: Sequence[Row], others: Sequence[Row]) -> list[tuple[str, float]]:
    """(photo, signed difference) of every image that has the metric on both sides."""
    sign = -1.0 if metric(rule.metric).lower else 1.0
    baseline = {row.place: row.values.get(rule.metric) for row in others}
    out = []
    for row in ours:
        value = row.values.get(rule.metric)
        against = 0.0 if rule.reference == "none" else baseline.get(row.place)
        if value is not None and against is not None:
            out.append((row.photo, sign * (value - against)))
    return out


def _judge_rule(
    rule: Rule, ours: Sequence[Row], others: Sequence[Row], config: GateConfig, trained: tuple[float, float]
) -> Line:
    rows = _in_scope(rule, ours, trained)
    differences = _differences(rule, rows, others)
    photos = len({photo for photo, _ in differences})
    words = in_words(rule)
    lost = len(rows) - len(differences)
    if not differences or (lost and rule.metric not in NONE_AT_REFERENCE):
        how = metric(rule.metric).lacking
        return _undecided(rule, photos, f"{words}: not computed for {lost} of {len(rows)} images. {how}")
    if photos < 2:
        return _undecided(rule, photos, f"{words}: one photo has no interval; evaluate on at least 2.")
    interval = bootstrap(
        by_photo(differences), confidence=config.confidence, resamples=config.resamples, seed=config.seed
    )
    decision: Decision = "INCONCLUSIVE"
    if interval.low > rule.above:
        decision = "PASS"
    elif interval.high < rule.above:
        decision = "FAIL"
    reason = (
        f"{words}: mean {interval.mean:+.3f}, {config.confidence:.0%} interval {interval.low:+.3f} to "
        f"{interval.high:+.3f} over {interval.n} photos: {decision}."
    )
    return Line(
        rule=words,
        decision=decision,
        effect=interval.mean,
        low=interval.low,
        high=interval.high,
        above=rule.above,
        n=interval.n,
        reason=reason,
    )


def _undecided(rule: Rule, n: int, reason: str) -> Line:
    return Line(
        rule=in_words(rule),
        decision="INCONCLUSIVE",
        effect=None,
        low=None,
        high=None,
        above=rule.above,
        n=n,
        reason=reason,
    )
