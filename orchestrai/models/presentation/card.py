"""The model card: what a model is, learned from, and how well it does, for people."""

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrai.core.verdict import Verdict
from orchestrai.models.estimators.artifact import ModelInfo
from orchestrai.models.spec import ModelSpec


def model_card(spec: ModelSpec, document: Mapping[str, Any], info: ModelInfo, verdicts: Sequence[Verdict]) -> str:
    """Markdown; the same evaluation gives the same text."""
    split = document["split"]
    sections = [
        f"# {spec.first_name}",
        f"A {info.task} model ({info.kind}) over {', '.join(info.recipe['features'])}, per {', '.join(spec.entity)}.",
        *_said(spec),
        "## Learned from",
        f"- training set {info.training_set['asset']} at `{info.training_set['version']}`",
        f"- {info.rows} rows, as-of moments until {info.trained_until}",
        f"- libraries: {', '.join(f'{name} {version}' for name, version in sorted(info.libraries.items()))}",
        *_values(document.get("values")),
        *_incomplete(document.get("incomplete")),
        *([f"When rows were known: {document['second_clock']}."] if document.get("second_clock") else []),
        "## How well it does",
        f"Held out: {document['rows']} rows ({_split(split)}). Intervals are 95 %, by bootstrap over {_drawn(spec)}. The naive baseline "
        f"is {document['naive_is']}.",
        _metrics(document),
        *_refused(document),
        *_classes(document),
        *_steps(document, spec.promote_when.metric),
        "## Verdicts",
        "\n".join(f"- {'pass' if v.passed else 'FAIL'} {v.check}: {v.message}" for v in verdicts),
        "## What it looks at",
        "\n".join(f"- {name}: {share:.1%}" for name, share in _ranked(info.importance)),
    ]
    if document["slices"]:
        sections += ["## Slices", _slices(document["slices"], spec.promote_when.metric)]
    sections += ["## Parameters", "\n".join(_parameters(info.recipe["estimator"][info.kind]))]
    return "\n\n".join(sections) + "\n"


def _said(spec: ModelSpec) -> list[str]:
    """What people declared of its use; nothing where they said nothing."""
    said = spec.card.as_recorded() if spec.card is not None else {}
    titles = {"intended_use": "For", "limits": "Not for", "owner": "Owner", "contact": "Contact"}
    lines = [f"- {titles[name]}: {text}" for name, text in said.items()]
    return ["## Intended use and limits", "\n".join(lines)] if lines else []


def _values(rows: Mapping[str, int] | None) -> list[str]:
    """The values of a dimension that it was trained on; nothing where there is none."""
    return [] if rows is None else [f"- trained on {', '.join(f'{value} ({count} rows)' for value, count in rows.items())}"]


def _incomplete(told: Mapping[str, Any] | None) -> list[str]:
    """What the training set's windows and horizons lacked; nothing for a whole one."""
    if told is None:
        return []
    return [
        f"Of {told['of_rows']} rows of the training set {told['horizons_left_out']} are left out, since the horizon of their label lacks "
        f"partitions in which data was due; {told['windows']} rows have windows that lack some, and were {told['windows_were']}.",
        "\n".join(f"- lacking: {place} ({reason})" for place, reason in sorted(told["lacking"].items())),
    ]


def _drawn(spec: ModelSpec) -> str:
    """What the bootstrap draws as one."""
    if spec.task == "forecast":
        return "moments"
    return "entities with their lists" if spec.task == "ranking" else "entities with their rows"


def _refused(document: Mapping[str, Any]) -> list[str]:
    """Metrics that have no value, and why."""
    lines = [
        f"- no {metric} of the {who}: {reason}"
        for who, reasons in sorted(document["refused"].items())
        for metric, reason in sorted(reasons.items())
    ]
    return ["\n".join(lines)] if lines else []


def _classes(document: Mapping[str, Any]) -> list[str]:
    """Class by class, and which were taken for which."""
    if "by_class" not in document:
        return []
    names = [line["class"] for line in document["by_class"]]
    figures = ("rows", "precision", "recall", "f1", "auc")
    lines = ["| class | " + " | ".join(figures) + " |", "|---|" + "---|" * len(figures)]
    for line in document["by_class"]:
        cells = ["" if name not in line else f"{line[name]}" if name == "rows" else f"{line[name]:.4f}" for name in figures]
        lines.append(f"| {line['class']} | {' | '.join(cells)} |")
    mistaken = ["| true class | " + " | ".join(f"taken for {name}" for name in names) + " |", "|---|" + "---|" * len(names)]
    mistaken += [
        f"| {name} | {' | '.join(str(count) for count in counts)} |"
        for name, counts in zip(names, document["confusion"], strict=True)
    ]
    return ["\n".join(lines), "\n".join(mistaken)]


def _steps(document: Mapping[str, Any], wanted: str) -> list[str]:
    """Errors step by step."""
    if "by_step" not in document:
        return []
    names = list(dict.fromkeys((wanted, "mae", "smape", "mase")))
    lines = ["| step | rows | " + " | ".join(names) + " |", "|---|---|" + "---|" * len(names)]
    lines += [
        f"| {line['step']} | {line['rows']} | {' | '.join(_cell(line.get(name)) for name in names)} |"
        for line in document["by_step"]
    ]
    told = "\n".join(lines)
    absent = document["rows_without_season"]
    return (
        [told, f"{absent} rows have nothing a season before: their naive forecast is the mean while training."]
        if absent
        else [told]
    )


def _split(split: Mapping[str, Any]) -> str:
    if split["folds"]:
        return f"{split['folds']} folds by entity, stratified by label"
    if split["backtests"]:
        return f"{split['backtests']} backtests, {split['test_from']} to {split['test_until']}"
    return f"{split['test_from']} to {split['test_until']}" if split["by"] == "time" else "by entity"


def _metrics(document: Mapping[str, Any]) -> str:
    names = [name for name in ("candidate", "champion", "baseline", "naive") if name in document]
    lines = ["| metric | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for metric in document["candidate"]:
        cells = [_cell(document[name].get(metric)) for name in names]
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(metric: Mapping[str, float] | None) -> str:
    return "" if metric is None else f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def _slices(slices: Sequence[Mapping[str, Any]], metric: str) -> str:
    lines = [f"| feature | value | rows | {metric} |", "|---|---|---|---|"]
    lines += [f"| {s['feature']} | {s['value']} | {s['rows']} | {_figure(s.get(metric))} |" for s in slices]
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _ranked(importance: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(importance.items(), key=lambda pair: (-pair[1], pair[0]))[:15]


def _parameters(parameters: Mapping[str, Any]) -> list[str]:
    return [f"- {name}: {value}" for name, value in sorted(parameters.items())]
