"""A study in plain words: what it asks, how it is run, what it guards, what to think about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from medhive.study import TUNING, Feature, Outcome, Run, Study, code

EVENTS_A_TERM = 10
"""Peduzzi et al. 1996 (J Clin Epidemiol 49:1373): fewer events a term give unstable estimates."""

FEW_ROWS = 20

_SIGNS: Mapping[str, str] = {
    ">": "a number above {}",
    ">=": "a number of {} or more",
    "<": "a number below {}",
    "<=": "a number of {} or less",
    "==": "the number {}",
    "!=": "any number but {}",
}
_SERVER: Mapping[str, str] = {
    "fedavg": "The server takes the average of the sites' models, weighted by their rows; it is the"
    " next common model.",
    "fedprox": "Each site is held near the common model (proximal-mu), which helps where sites"
    " differ much; the server takes the average weighted by rows.",
    "fedadam": "The server takes the average weighted by rows, and moves the common model towards"
    " it with the Adam optimiser.",
    "fedyogi": "The server takes the average weighted by rows, and moves the common model towards"
    " it with the Yogi optimiser.",
    "fedadagrad": "The server takes the average weighted by rows, and moves the common model"
    " towards it with the Adagrad optimiser.",
    "fedavgm": "The server takes the average weighted by rows, and moves the common model towards"
    " it with momentum.",
}
"""What the server does with the sites' models."""

_MISSING: Mapping[str, str] = {
    "drop": "a row in which one of these columns is empty is left out.",
    "mean": "an empty value is filled with the column's mean over all sites (of a level: with its"
    " share). A row without an outcome is left out.",
    "indicator": "an empty value is filled with the column's mean over all sites (of a level: with"
    " its share), and one more term for each feature says where that was. A row without an outcome"
    " is left out.",
}
"""What happens to missing values."""


@dataclass(frozen=True)
class Section:
    """A heading and the sentences below it."""

    heading: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class FeatureLine:
    """One feature, as a line of a table."""

    name: str
    kind: str
    values: str


def question(study: Study) -> Section:
    """Say what the study asks."""
    n = len(study.features)
    features = "1 feature" if n == 1 else f"{n} features"
    return Section(
        "The question",
        (
            f"How does the chance of the event depend on {features}? One logistic regression is"
            " fitted over the rows of all sites; no row leaves its site.",
            outcome(study.study.outcome),
        ),
    )


def outcome(what: Outcome) -> str:
    """Say what the event is."""
    start = f'The outcome is the column "{what.column}".'
    if what.comparison is not None:
        sign, number = what.comparison
        return (
            f"{start} The event is {_SIGNS[sign].format(number)}; every other number is no event."
        )
    if isinstance(what.event, bool):
        word = str(what.event).lower()
        return (
            f'{start} The event is the word "{word}" (in any case of letters); the column may hold'
            " one other value, which is no event."
        )
    return (
        f'{start} The event is the value "{code(what.event)}"; the column may hold one other value,'
        " which is no event."
    )


def features(study: Study) -> tuple[FeatureLine, ...]:
    """Describe every feature."""
    return tuple(_feature(feature) for feature in study.features)


def _feature(feature: Feature) -> FeatureLine:
    if feature.kind == "continuous":
        if feature.range is None:
            values = f"any number{f', in {feature.unit}' if feature.unit else ''}"
        else:
            low, high = feature.range
            values = f"{low:g} to {high:g} {feature.unit}".rstrip()
        return FeatureLine(feature.name, feature.kind, values)
    if feature.kind == "binary":
        labels = dict(feature.levels)
        values = ", ".join(_level(level, labels.get(level, level)) for level in ("0", "1"))
        return FeatureLine(feature.name, feature.kind, values)
    indicators = feature.indicators
    values = ", ".join(
        _level(level, label) + ("" if level in indicators else " (reference)")
        for level, label in feature.levels
    )
    return FeatureLine(feature.name, feature.kind, values)


def _level(level: str, label: str) -> str:
    return level if level == label else f"{level} = {label}"


def terms(study: Study) -> Section:
    """Say which coefficients the model has."""
    names = [term.name for term in study.terms]
    sentences = [
        f"The intercept and {len(names)} {_plural(len(names), 'coefficient')}: {', '.join(names)}."
    ]
    example = next((each for each in study.features if each.kind == "categorical"), None)
    if example is not None:
        labels = dict(example.levels)
        level = example.indicators[0]
        (reference,) = set(example.codes) - set(example.indicators)
        sentences.append(
            f"{example.name}[{level}] compares {_quoted(level, labels)} with the reference,"
            f" {_quoted(reference, labels)}."
        )
    if study.run.missing == "indicator":
        name = study.features[0].name
        sentences.append(
            f"{name}[missing] compares rows without a value of {name} with rows that have the mean."
        )
    return Section("The model's terms", tuple(sentences))


def _quoted(level: str, labels: Mapping[str, str]) -> str:
    return level if labels[level] == level else f'{level} ("{labels[level]}")'


def training(study: Study) -> Section:
    """Say how the model is trained, and what its numbers mean."""
    return Section("How it is trained", tuple(_training(study.run)))


def _training(run: Run) -> Iterator[str]:
    yield (
        f"{run.strategy}: in each of {run.num_server_rounds} rounds every site starts from the"
        f" common model and runs {run.local_epochs} {_plural(run.local_epochs, 'iteration')} of the"
        f" solver on its own rows (local-epochs). {_SERVER[run.strategy]}"
    )
    for key in TUNING[run.strategy]:
        about = Run.model_fields[key]
        text = str(about.description).split(": ", 1)[-1].rstrip(".")
        yield f"{about.alias} = {getattr(run, key):g}: {text}."
    if run.penalty == "none":
        yield "penalty = none: coefficients are not pulled towards zero (maximum likelihood)."
    else:
        mixed = f", l1-ratio = {run.l1_ratio:g}" if run.l1_ratio is not None else ""
        yield (
            f"penalty = {run.penalty}, C = {run.C:g}{mixed}: coefficients are pulled towards zero,"
            " the intercept is not. A smaller C pulls harder. C is meant on the rows of all sites"
            " together, as scikit-learn's C would be."
        )
    yield (
        "standardise = true: columns are brought to mean 0 and standard deviation 1 over all sites"
        " for training; results are in clinical units."
        if run.standardise
        else "standardise = false: columns are used in clinical units, as they are."
    )
    yield f"missing = {run.missing}: {_MISSING[run.missing]}"
    if run.test_fraction:
        yield (
            f"test-fraction = {run.test_fraction:g}: each site holds out {run.test_fraction:.0%} of"
            f" its rows, drawn with seed = {run.seed}; accuracy and AUC come from these alone."
        )
    else:
        yield "test-fraction = 0: no rows are held out."
    sites = run.min_available_clients
    yield (
        f"min-available-clients = {sites}: with fewer than {sites} {_plural(sites, 'site')} the run"
        f" waits. A site that has not answered after {run.round_timeout:g} s is left out of the"
        " round."
    )


def privacy(study: Study) -> Section:
    """Say what protects the patients."""
    low = study.privacy.min_rows
    return Section(
        "What protects the patients",
        (
            "Only sums over a site's rows leave it; medhive study show lists them.",
            f"min-rows = {low}: a site with fewer than {low} training rows"
            f" ({'complete' if study.run.missing == 'drop' else 'with an outcome'}, and not held"
            " out) takes no part. It does not tell the server how many it has.",
            f"min-cell = {study.privacy.min_cell}: of missing values, and where the rows are"
            " described (medhive describe), no smaller count is shown but zero. A site can raise"
            " it.",
            "secure-aggregation = true: each site's sums would be masked, so that the server sees"
            " the total only."
            if study.privacy.secure_aggregation
            else "secure-aggregation = false: the server sees each site's sums, inside TLS.",
        ),
    )


def identity(study: Study) -> Section:
    """Say what the study is known by."""
    return Section(
        "Its identity",
        (
            f"SHA-256 {study.sha256}",
            f"Server and clients show the first twelve digits, {study.sha256[:12]}. Comments and"
            " the order of keys do not change it; every value does.",
        ),
    )


def notes(study: Study) -> tuple[str, ...]:
    """Return what is allowed, and worth a thought."""
    return (*_notes_on_features(study), *_notes_on_run(study), *_notes_on_privacy(study))


def _notes_on_features(study: Study) -> Iterator[str]:
    n = len(study.terms)
    yield (
        f"{n} {_plural(n, 'coefficient')} {'needs' if n == 1 else 'need'} about {EVENTS_A_TERM * n}"
        f" rows with the event, and as many without, over all sites together ({EVENTS_A_TERM} a"
        " coefficient, a rule of thumb). Nobody knows yet how many there are: ask the sites."
    )
    continuous = [each for each in study.features if each.kind == "continuous"]
    if without := [each.name for each in continuous if not each.unit]:
        yield f"No unit: {', '.join(without)}. Two sites may use different ones without an error."
    if without := [each.name for each in continuous if each.range is None]:
        yield f"No range: {', '.join(without)}. A value that cannot be is not found out."
    bare = [
        each.name
        for each in study.features
        if each.kind != "continuous" and all(level == label for level, label in each.levels)
    ]
    if coded := [name for name in bare if _is_coded(study, name)]:
        yield f"No labels: {', '.join(coded)}. Say what the codes mean, so that sites code alike."


def _is_coded(study: Study, name: str) -> bool:
    feature = next(each for each in study.features if each.name == name)
    return feature.kind == "binary" or all(level.lstrip("-").isdigit() for level in feature.codes)


def _notes_on_run(study: Study) -> Iterator[str]:
    run = study.run
    if run.penalty == "none" and "C" in run.model_fields_set:
        yield 'C has no effect with penalty = "none".'
    if run.penalty != "none" and not run.standardise:
        yield (
            "Without standardise the penalty depends on the units: a column in grams is pulled less"
            " than the same in kilograms."
        )
    if run.missing == "mean":
        yield (
            "missing = mean treats a filled value as if it had been measured, so coefficients look"
            " more certain than they are. indicator shows whether the outcome differs where values"
            " are missing."
        )
    if run.missing == "indicator":
        yield (
            "missing = indicator: that a value is missing is used to predict. This holds elsewhere"
            " only where values are missing for the same reasons, and can bias the other"
            " coefficients."
        )
    if run.missing == "indicator" and run.penalty == "none":
        yield (
            'With penalty = "none", columns that are missing in the same rows have no coefficients'
            " of their own: a penalty shares the effect out."
        )
    if run.strategy == "fedprox" and run.proximal_mu == 0:
        yield "fedprox with proximal-mu = 0 holds no site near the common model: it is fedavg."
    if run.strategy == "fedavgm" and (run.server_learning_rate, run.server_momentum) == (1, 0):
        yield "fedavgm with learning rate 1 and momentum 0 is fedavg."
    if run.test_fraction == 0:
        yield (
            "test-fraction = 0: the model is judged on the rows that it was trained on, so accuracy"
            " and AUC are too good. test-fraction = 0.2 would hold out a fifth."
        )


def _notes_on_privacy(study: Study) -> Iterator[str]:
    if study.run.min_available_clients == 1:
        yield (
            "min-available-clients = 1: a run may go on with one site. Every total is then that"
            " site's own sums: the model is its model, and everybody who gets the result sees it."
        )
    elif study.run.min_available_clients == 2:
        yield (
            "min-available-clients = 2: with two sites, each can subtract its own sums from a total"
            " and has the other's."
        )
    if not study.privacy.secure_aggregation:
        yield (
            "In this version the server sees each site's own sums, however many sites there are:"
            " sums are protected from outsiders by TLS, not from the server."
        )
    if study.privacy.secure_aggregation:
        yield (
            "secure-aggregation = true: this version cannot mask yet, so its server and clients"
            " refuse this study; only medhive simulate runs it."
        )
    if study.privacy.min_rows < FEW_ROWS:
        yield (
            f"min-rows = {study.privacy.min_rows}: sums over so few rows say much about each"
            f" patient; {FEW_ROWS} or more are usual."
        )


def _plural(n: int, word: str) -> str:
    return word if n == 1 else f"{word}s"
