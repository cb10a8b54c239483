"""``calibrate fit``: logits and labels in, a rule file out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from calibrate.cli import named, options
from calibrate.cli.output import emit_json, note, progress, refuse_overwrite
from calibrate.cli.report import command_line

if TYPE_CHECKING:
    from calibrate.crossfit import CrossFit
    from calibrate.data import LabelledLogits
    from calibrate.decision import Decision
    from calibrate.pipeline import Pipeline

_CALIBRATORS = ", ".join([*named.step_names("calibrators"), "none"])
_RULES = ", ".join(named.step_names("rules"))


@click.command("fit")
@click.argument("logits")
@click.argument("labels")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="The rule file."
)
@options.pos_weight_option
@click.option(
    "--calibrator",
    "calibrators",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help=f"May be repeated, fitted in turn. One of: {_CALIBRATORS}. "
    "[default: hierarchical-scaling]",
)
@options.objective_option(
    default=None, help="What the rule is to be good at; picks it  [default: count]"
)
@click.option(
    "--rule",
    metavar="NAME[:OPTION=VALUE,...]",
    help=f"Instead of an objective, one of: {_RULES}.",
)
@click.option(
    "--metric",
    help=f"What a threshold rule maximises: {named.METRICS}. [default: f1]",
)
@click.option(
    "--overrides",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE.json",
    help="Classes set by hand and labels per row, see below.",
)
@click.option(
    "--report",
    "report_page",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Also write the page of calibrate report on these rows, .html.",
)
@options.folds_option
@options.groups_option
@options.labels_options
@options.logits_options
@options.force_option
@options.output_options
def command(
    logits: str,
    labels: str,
    output: Path,
    pos_weight: str | None,
    calibrators: tuple[str, ...],
    objective: str | None,
    rule: str | None,
    metric: str | None,
    overrides: Path | None,
    report_page: Path | None,
    folds: int | None,
    groups: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **reading: Any,
) -> None:
    """Fit a rule to LOGITS and LABELS of held-out rows and write it to a file.

    LOGITS: .npy, .npz, .safetensors or .pt, rows x classes; a quoted glob reads shards.
    LABELS: SciPy .npz, .npy, .jsonl of ids or names, .pt. Never fit on the rows that trained the
    network: their logits are too good.

    --objective picks the rule. The default, count, answers "as many predictions as labels"; for
    the highest F1 take macro-f1 (each class weighs alike), micro-f1 (each label) or instance-f1
    (each row). recall=0.9 or precision=0.9 is guaranteed for each class, on rows that are kept
    apart for that. --rule takes any rule: with plug-in-threshold the probabilities alone decide,
    and batch=true finds its thresholds anew on the rows that are labelled together (apply --adapt).

    The rule is fitted to all rows. The figures are those of rows that were not fitted on: each row
    is judged by one more fit, to all folds of the rows but its own. That takes as many more fits as
    there are folds; --folds 0 leaves it out.

    The default calibrator finds out from the labels what training with weights has left; tell it
    the weights with --pos-weight. What another loss or chosen rows did is undone without labels by

    \b
      --calibrator pos-weight-correction:pos-weight=FILE,label-smoothing=0.1
      --calibrator focal-correction:gamma=2,alpha=0.25
      --calibrator asymmetric-loss-correction:gamma-neg=4,clip=0.05
      --calibrator resampling-correction:keep-negatives=0.1

    and --calibrator hierarchical-scaling behind it fits what is left.

    What --overrides says holds instead of the thresholds of the rule; a class is named or matched
    by a pattern (without names, its number), and the last match holds:

    \b
      {"classes": {"rock*": "never", "jazz": "always", "pop": {"probability": 0.3},
                   "folk": {"min_precision": 0.8}},
       "min_labels": 1, "max_labels": 10}
    """  # noqa: D301
    if groups is not None and folds == 0:
        raise click.UsageError("--groups says which rows stay in one fold: there are none")
    refuse_overwrite(output, force)
    if report_page is not None:
        refuse_overwrite(report_page, force)
    steps, last = _parse(calibrators, objective, rule, metric)
    if overrides is not None:
        last = options.overridden(last, overrides)
    from calibrate.evaluation.result import finite_or_none
    from calibrate.pipeline import Pipeline
    from calibrate.report import threshold_report
    from calibrate.report.html import scripts_of_bokeh

    if report_page is not None:
        scripts_of_bokeh()  # says now, not after the fit, that it is missing
    ids = options.read_groups(groups)
    rows = options.read_rows(logits, labels, **reading)
    if pos_weight:
        steps = _told_of_weights(steps, options.weights(pos_weight, rows))
    with progress(quiet, rows.source):
        decision, figures, found = _fitted(Pipeline(steps, last), rows, folds, ids, quiet)
        page = None
        if report_page is not None:
            again = command_line(str(output), logits, labels)
            page = threshold_report(decision, rows, command=again)
    # last, so that whatever ends the command before leaves no file
    decision.save(output)
    if page is not None and report_page is not None:
        page.save_page(report_page)
    if as_json:
        emit_json(
            "fit",
            {
                "output": str(output),
                **({} if report_page is None else {"report": str(report_page)}),
                "provenance": decision.header()["provenance"],
                "cross_fit": None if found is None else found.as_dict(),
                "fitting_rows": {k: finite_or_none(v) for k, v in figures.items()},
            },
        )
        return
    click.echo(f"wrote {output}: {' -> '.join(type(s).__name__ for s in (*steps, last))}")
    if report_page is not None:
        click.echo(f"wrote {report_page}")
    note(
        quiet,
        f"fitted on {rows.shape[0]:,} rows x {rows.shape[1]:,} classes, "
        f"{rows.labels.n_labels:,} labels\n"
        + (_in_sample(figures) if found is None else _table(found))
        + f"\nmacro-F1 leaves out {figures['n_classes_without_positives']:,} classes without a "
        "true label",
    )


def _fitted(
    pipeline: Pipeline, rows: LabelledLogits, folds: int | None, groups: Any, quiet: bool
) -> tuple[Decision, dict[str, float | int], CrossFit | None]:
    """The decision, what it does on its own rows, and the cross-fit if there is to be one.

    Rows too few for folds are fitted all the same, unless somebody asked for folds.
    """
    from calibrate.crossfit import FoldError, cross_fit
    from calibrate.evaluation import evaluate_rows
    from calibrate.statistics import Evidence

    wanted = options.FOLDS if folds is None else folds
    if wanted:
        try:
            found = cross_fit(pipeline, rows, folds=wanted, groups=groups)
            return found.decision, found.in_sample.summary, found
        except FoldError as refusal:
            if folds is not None or groups is not None:
                raise
            note(quiet, f"no figures of rows that were not fitted on: {refusal}")
    decision = pipeline.fit_evidence(Evidence(rows)).decision_
    return decision, evaluate_rows(decision, rows, ranking=False).summary, None


def _in_sample(figures: dict[str, float | int]) -> str:
    return (
        f"on these same rows (in-sample, so flattering): predicted/true "
        f"{figures['count_ratio']:.3f}, macro-F1 {figures['macro_f']:.4f}, "
        f"micro-F1 {figures['micro_f']:.4f}"
    )


def _table(found: CrossFit) -> str:
    """The figures a rule is judged by, out of sample, in-sample, and their difference."""
    parts = found.summary()
    lines = [f"{'':<13}  " + "  ".join(options.FIGURES.values())]
    for name, figures in parts.items():
        sign = "+" if name == "optimism" else ""
        cells = (f"{figures[key]:>{sign}{len(head)}.4f}" for key, head in options.FIGURES.items())
        said = "in-sample" if name == "in_sample" else name.replace("_", " ")
        lines.append(f"{said:<13}  " + "  ".join(cells))
    kept = "" if found.n_groups is None else f" of {found.n_groups:,} groups"
    return "\n".join(lines) + (
        f"\nout of sample: {found.folds} folds{kept}, each row judged by a fit without its fold"
    )


def _told_of_weights(steps: list[Any], weights: Any) -> list[Any]:
    """The steps with the weights of the training, which one of them asks for or which go first."""
    from calibrate.calibrators.pos_weight_correction import PosWeightCorrection

    asks = [step for step in steps if step.get_params().get("pos_weight", weights) is None]
    for step in asks:
        step.set_params(pos_weight=weights)
    return steps if asks else [PosWeightCorrection(weights), *steps]


def _parse(
    calibrators: tuple[str, ...], objective: str | None, rule: str | None, metric: str | None
) -> tuple[list[Any], Any]:
    """Steps from their names, before anything is read."""
    names = [name for name in calibrators or ("hierarchical-scaling",) if name != "none"]
    steps = [named.make_step("calibrators", name, {}) for name in names]
    if rule is not None and objective is not None:
        raise click.UsageError("--objective picks a rule: give it or --rule, not both")
    if rule is not None:
        return steps, named.make_rule(rule, metric)
    if metric is not None:
        named.make_metric(metric)
        raise click.UsageError("--metric goes with a threshold rule, given by --rule")
    return steps, named.make_objective(objective or "count").make_rule()
