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
        f"# {spec.name}",
        f"A {info.task} model ({info.kind}) over {', '.join(info.recipe['features'])}, per {', '.join(spec.entity)}.",
        "## Learned from",
        f"- training set {info.training_set['asset']} at `{info.training_set['version']}`",
        f"- {info.rows} rows, as-of moments until {info.trained_until}",
        f"- libraries: {', '.join(f'{name} {version}' for name, version in sorted(info.libraries.items()))}",
        *_values(document.get("values")),
        *_incomplete(document.get("incomplete")),
        "## How well it does",
        f"Held out: {document['rows']} rows ({_split(split)}). Intervals are 95 %, by bootstrap over "
        f"{'whole lists' if spec.task == 'ranking' else 'rows'}.",
        _metrics(document),
        "## Verdicts",
        "\n".join(f"- {'pass' if v.passed else 'FAIL'} {v.check}: {v.message}" for v in verdicts),
        "## What it looks at",
        "\n".join(f"- {name}: {share:.1%}" for name, share in _ranked(info.importance)),
    ]
    if document["slices"]:
        sections += ["## Slices", _slices(document["slices"], spec.promote_when.metric)]
    sections += ["## Parameters", "\n".join(_parameters(info.recipe["estimator"][info.kind]))]
    return "\n\n".join(sections) + "\n"


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


def _split(split: Mapping[str, Any]) -> str:
    if split["folds"]:
        return f"{split['folds']} folds by entity, stratified by label"
    return f"{split['test_from']} to {split['test_until']}" if split["by"] == "time" else "by entity"


def _metrics(document: Mapping[str, Any]) -> str:
    names = [name for name in ("candidate", "champion", "baseline") if name in document]
    lines = ["| metric | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for metric in document["candidate"]:
        cells = [_cell(document[name].get(metric)) for name in names]
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(metric: Mapping[str, float] | None) -> str:
    return "" if metric is None else f"{metric['value']:.4f} ({metric['low']:.4f} to {metric['high']:.4f})"


def _slices(slices: Sequence[Mapping[str, Any]], metric: str) -> str:
    lines = [f"| feature | value | rows | {metric} |", "|---|---|---|---|"]
    lines += [f"| {s['feature']} | {s['value']} | {s['rows']} | {s[metric]:.4f} |" for s in slices]
    return "\n".join(lines)


def _ranked(importance: Mapping[str, float]) -> list[tuple[str, float]]:
    return sorted(importance.items(), key=lambda pair: (-pair[1], pair[0]))[:15]


def _parameters(parameters: Mapping[str, Any]) -> list[str]:
    return [f"- {name}: {value}" for name, value in sorted(parameters.items())]
