"""``calibrate compare``: the table a choice of pipeline rests on."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from calibrate.cli import named, options
from calibrate.cli.output import emit_json, note, progress


@click.command("compare")
@click.argument("logits")
@click.argument("labels")
@click.option("--test-logits", metavar="PATH", help="Rows to judge on, with --test-labels.")
@click.option("--test-labels", metavar="PATH", help="Their labels.")
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Share of the rows to set apart and judge on, instead of cross-fitting.",
)
@click.option("--seed", default=0, show_default=True, help="Of the folds or the random split.")
@click.option(
    "--folds",
    type=click.IntRange(2),
    default=options.FOLDS,
    show_default=True,
    help="Folds of the cross-fit, where no rows are given or set apart to judge on.",
)
@options.groups_option
@options.pos_weight_option
@click.option(
    "--calibrator",
    "calibrators",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help="Judge this calibrator too, cut at 0.5, as in calibrate fit. May be repeated.",
)
@click.option(
    "--rule",
    "rules",
    multiple=True,
    metavar="NAME[:OPTION=VALUE,...]",
    help="Judge this rule too, after the default calibrator, as in calibrate fit. May be repeated.",
)
@options.objective_option(default="macro-f1", help="What puts the best first")
@options.labels_options
@options.logits_options
@click.option("--markdown", is_flag=True, help="Print the table as Markdown.")
@options.output_options
def command(
    logits: str,
    labels: str,
    test_logits: str | None,
    test_labels: str | None,
    test_fraction: float | None,
    seed: int,
    folds: int,
    groups: str | None,
    pos_weight: str | None,
    calibrators: tuple[str, ...],
    rules: tuple[str, ...],
    objective: str,
    markdown: bool,
    as_json: bool,
    quiet: bool,
    **reading: Any,
) -> None:
    """Fit the usual pipelines to LOGITS and LABELS and judge each on rows it was not fitted on.

    Those are the rows of --test-logits, or a share of the rows set apart by --test-fraction. With
    neither, each row is judged by a fit to all folds but its own. What names no calibrator, and
    does not say raw, comes after the default one.

    Macro-F1 weighs every class alike, micro-F1 every label, instance-F1 every row.
    predicted/true is the number of labels predicted over the number that are true, overall and
    for the third of the classes that is rarest among the fitting rows. No pipeline is best in all
    columns: the highest F1 needs more predictions than there are labels.

    The first pipeline is the best by the --objective. A recall or precision to be kept adds the
    rule that guarantees it, fitted on half of the rows that are kept apart for that.

    The second table shows each F1 less that of the first pipeline, on the same rows, and how far
    its 95 % interval reaches to each side: a difference within its reach may be luck of the rows
    judged on, or of the groups if there are --groups. What another fit would give is not in it.

    The last table is the optimism: how much higher the figures of the first are on the rows that
    were fitted. The last line says what to take.
    """
    if (test_logits is None) != (test_labels is None):
        raise click.UsageError("--test-logits and --test-labels go together")
    steps = {name: named.make_step("calibrators", name, {}) for name in calibrators}
    last = {name: named.make_rule(name) for name in rules}
    goal = named.make_objective(objective)
    if test_logits is not None and test_fraction is not None:
        raise click.UsageError("rows to judge on are given or set apart, not both")
    if groups is not None and (test_logits is not None or test_fraction is not None):
        raise click.UsageError("--groups says which rows stay in one fold: there are none")
    from calibrate.comparison import (
        compare,
        compare_cross_fitted,
        split_rows,
        standard_pipelines,
    )

    ids = options.read_groups(groups)
    rows = options.read_rows(logits, labels, **reading)
    fit_rows, test_rows = rows, None
    if test_logits is not None and test_labels is not None:
        test_rows = options.read_rows(test_logits, test_labels, **reading)
    elif test_fraction is not None:
        fit_rows, test_rows = split_rows(rows, test_fraction=test_fraction, seed=seed)
    weights = None if pos_weight is None else options.weights(pos_weight, fit_rows)
    mean_labels = fit_rows.labels.n_labels / fit_rows.shape[0]
    if goal.is_bound:
        last[goal.name] = goal.make_rule()
    pipelines = standard_pipelines(mean_labels, weights, steps, last)
    others = [] if test_logits is None or test_rows is None else [test_rows.source]
    with progress(quiet, rows.source, *others):
        if test_rows is None:
            found = compare_cross_fitted(
                rows, pipelines, folds=folds, groups=ids, seed=seed, objective=goal
            )
        else:
            found = compare(fit_rows, test_rows, pipelines, in_sample=True, objective=goal)
    if as_json:
        emit_json("compare", found.as_dict())
        return
    how = (
        f"fitted on {found.n_fit:,} rows, judged on {found.n_test:,} others"
        if found.folds is None
        else f"judged on {found.n_test:,} rows in {found.folds} folds, each by a fit to the others"
    )
    note(
        quiet,
        f"{how}, {rows.shape[1]:,} classes\n"
        f"macro-F1 leaves out {found.n_left_out:,} classes without a true label among the rows "
        "judged on",
    )
    optimism = found.of_optimism()
    click.echo(found.markdown() if markdown else found.table())
    click.echo()
    click.echo(found.difference_markdown() if markdown else found.difference_table())
    click.echo("\noptimism: figures of the first table on the fitting rows, minus those in it\n")
    click.echo(optimism.markdown() if markdown else optimism.table())
    click.echo()
    click.echo(
        found.advice() if markdown else textwrap.fill(found.advice(), 80, break_on_hyphens=False)
    )
