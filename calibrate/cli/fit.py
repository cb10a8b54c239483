"""``calibrate fit``: logits and labels in, a rule file out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from calibrate.cli import options
from calibrate.cli.output import emit_json, note, progress, refuse_overwrite

_CALIBRATORS = ", ".join([*options.step_names("calibrators"), "none"])
_RULES = ", ".join(options.step_names("rules"))


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
    help=f"May be repeated, fitted in turn. One of: {_CALIBRATORS}. [default: platt-scaling]",
)
@click.option(
    "--rule",
    default="expected-count-top-k",
    show_default=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help=f"One of: {_RULES}.",
)
@click.option(
    "--metric",
    help=f"What a threshold rule maximises: {options.METRICS}. [default: f1]",
)
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
    rule: str,
    metric: str | None,
    force: bool,
    as_json: bool,
    quiet: bool,
    **reading: Any,
) -> None:
    """Fit a rule to LOGITS and LABELS of held-out rows and write it to a file.

    LOGITS: .npy, .npz, .safetensors or .pt, rows x classes; a quoted glob reads shards.
    LABELS: SciPy .npz, .npy, .jsonl of ids or names, .pt. Never fit on the rows that trained the
    network: their logits are too good.

    The default answers "as many predictions as labels". For the highest F1 take
    --rule per-class-threshold (macro) or --rule shared-threshold (micro).

    A network trained with weights, smoothed labels, another loss or chosen rows says something
    else than a probability. What training did is undone without labels by

    \b
      --pos-weight FILE
      --calibrator pos-weight-correction:pos-weight=FILE,label-smoothing=0.1
      --calibrator focal-correction:gamma=2,alpha=0.25
      --calibrator asymmetric-loss-correction:gamma-neg=4,clip=0.05
      --calibrator resampling-correction:keep-negatives=0.1

    and --calibrator platt-scaling behind it fits what is left.
    """  # noqa: D301
    refuse_overwrite(output, force)
    steps, last = _parse(calibrators, rule, metric)
    from calibrate.calibrators.pos_weight_correction import PosWeightCorrection
    from calibrate.evaluation import evaluate_rows
    from calibrate.evaluation.result import finite_or_none
    from calibrate.pipeline import Pipeline
    from calibrate.statistics import Evidence

    rows = options.read_rows(logits, labels, **reading)
    if pos_weight:
        steps = [PosWeightCorrection(options.weights(pos_weight, rows)), *steps]
    with progress(quiet, rows.source):
        pipeline = Pipeline(steps, last).fit_evidence(Evidence(rows))
        figures = evaluate_rows(pipeline.decision_, rows, ranking=False).summary
    # last, so that whatever ends the command before leaves no file
    pipeline.save(output)
    decision = pipeline.decision_
    if as_json:
        emit_json(
            "fit",
            {
                "output": str(output),
                "provenance": decision.header()["provenance"],
                "fitting_rows": {k: finite_or_none(v) for k, v in figures.items()},
            },
        )
        return
    click.echo(f"wrote {output}: {' -> '.join(type(s).__name__ for s in (*steps, last))}")
    note(
        quiet,
        f"fitted on {rows.shape[0]:,} rows x {rows.shape[1]:,} classes, "
        f"{rows.labels.n_labels:,} labels\n"
        f"on these same rows (in-sample, so flattering): predicted/true "
        f"{figures['count_ratio']:.3f}, macro-F1 {figures['macro_f']:.4f}, "
        f"micro-F1 {figures['micro_f']:.4f}\n"
        f"(macro-F1 leaves out {figures['n_classes_without_positives']:,} classes without a true "
        "label)\n"
        "for figures on rows that were not fitted: calibrate compare",
    )


def _parse(calibrators: tuple[str, ...], rule: str, metric: str | None) -> tuple[list[Any], Any]:
    """Steps from their names, before anything is read."""
    names = [name for name in calibrators or ("platt-scaling",) if name != "none"]
    steps = [options.make_step("calibrators", name, {}) for name in names]
    last = options.make_step("rules", rule, {"metric": options.make_metric(metric or "f1")})
    if metric is not None and not hasattr(last, "metric"):
        raise click.UsageError(f"--metric goes with a threshold rule; {rule} maximises none")
    return steps, last
