"""The study contract: what is asked of every site, and what a site approves."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StrictBool,
    StrictStr,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from medhive.rows import Array

INTERCEPT = "(Intercept)"

Strategy = Literal["fedavg", "fedprox", "fedadam", "fedyogi", "fedadagrad", "fedavgm"]
Penalty = Literal["l2", "l1", "elasticnet", "none"]
Kind = Literal["continuous", "binary", "categorical"]
Missing = Literal["drop", "mean", "indicator"]

TUNING: Mapping[str, Mapping[str, float]] = {
    "fedavg": {},
    "fedprox": {"proximal_mu": 0.01},
    "fedadam": {"eta": 0.1, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-3},
    "fedyogi": {"eta": 0.1, "beta_1": 0.9, "beta_2": 0.99, "tau": 1e-3},
    "fedadagrad": {"eta": 0.1, "tau": 1e-3},
    "fedavgm": {"server_learning_rate": 1.0, "server_momentum": 0.9},
}
"""The extra keys of ``[run]`` that each strategy takes, with their defaults."""


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class _Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        alias_generator=lambda name: name if name == "C" else _kebab(name),
        populate_by_name=True,
        allow_inf_nan=False,
    )


def code(value: object) -> str:
    """Return the canonical code of a level: ``1``, ``1.0`` and ``"1"`` are the same level."""
    text = str(value).strip()
    try:
        number = float(text)
    except ValueError:
        return text
    return str(int(number)) if number.is_integer() else text


Integer = Annotated[int, Strict()]
Number = Annotated[float, Strict()]
_COMPARISON = re.compile(r"^(>=|<=|==|!=|>|<)\s*(.+)$")
_OPERATORS: Mapping[str, Callable[[Array, float], NDArray[np.bool_]]] = {
    ">": np.greater,
    ">=": np.greater_equal,
    "<": np.less,
    "<=": np.less_equal,
    "==": np.equal,
    "!=": np.not_equal,
}


def _fault(setting: str, message: str, step: str) -> PydanticCustomError:
    """Make an error about several settings that points at one of them and says what to do."""
    return PydanticCustomError(
        "setting", "{message}", {"message": message, "setting": setting, "step": step}
    )


_EVENT_STEP = 'write a value, such as 1 or "M", or a comparison, such as "> 0"'


class Outcome(_Section):
    """The outcome column and which of its values count as the event.

    Parameters
    ----------
    column : str
        Column in every site's data.
    event : str or number
        A value (``1``, ``"M"``) or a comparison (``"> 0"``).
    """

    column: StrictStr = Field(
        min_length=1, description="The outcome's column in every site's file."
    )
    event: StrictBool | Integer | Number | StrictStr = Field(
        description='The event: a value, such as 1 or "M", or a comparison, such as "> 0".'
    )

    @model_validator(mode="after")
    def _comparison_has_a_number(self) -> Self:
        if self.event == "":
            raise _fault("event", "event is empty", _EVENT_STEP)
        if self.comparison is not None:
            try:
                finite = math.isfinite(float(self.comparison[1]))
            except ValueError:
                finite = False
            if not finite:
                raise _fault(
                    "event",
                    f"event = {self.event!r} compares with something that is not a number",
                    _EVENT_STEP,
                )
        return self

    @property
    def comparison(self) -> tuple[str, str] | None:
        """Operator and number, or None where the event is a value."""
        match = _COMPARISON.match(self.event) if isinstance(self.event, str) else None
        return (match[1], match[2].strip()) if match else None

    def holds(self, values: Array) -> NDArray[np.bool_]:
        """Say which numbers meet the event's comparison."""
        if self.comparison is None:
            raise ValueError("the event is a value, not a comparison")
        sign, number = self.comparison
        return _OPERATORS[sign](values, float(number))


class Header(_Section):
    """``[study]``: name, title, outcome."""

    name: str = Field(
        pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$",
        description="Short name: lower-case letters, digits and . _ -, at most 64.",
    )
    title: str = Field(default="", description="Title, for people.")
    outcome: Outcome = Field(
        description="The outcome column, and which of its values is the event."
    )
    extra_columns: Literal["ignored", "refused"] = Field(
        default="ignored",
        description="What happens to columns of a site's file that the study does not name:"
        " ignored (listed and not read), or refused.",
    )


class Run(_Section):
    """``[run]``: Flower's run-config keys; each can be overridden with ``--run-config``."""

    strategy: Strategy = Field(
        default="fedavg", description="How the sites' models become one model."
    )
    num_server_rounds: Integer = Field(
        default=5, ge=1, le=10_000, description="Rounds of training."
    )
    local_epochs: Integer = Field(
        default=5, ge=1, le=10_000, description="Iterations of the solver at each site in a round."
    )
    penalty: Penalty = Field(
        default="l2", description="Penalty on the coefficients; the intercept has none."
    )
    C: Number = Field(
        default=1.0,
        gt=0,
        description="Inverse strength of the penalty, with scikit-learn's meaning on the pooled"
        " standardised rows.",
    )
    l1_ratio: Number | None = Field(
        default=None, ge=0, le=1, description='Share of l1 in the penalty "elasticnet".'
    )
    min_available_clients: Integer = Field(
        default=2,
        ge=1,
        le=100_000,
        description="Sites that must be there for a round; with fewer the run waits.",
    )
    standardise: StrictBool = Field(
        default=True,
        description="Train on columns with mean 0 and standard deviation 1 over all sites.",
    )
    missing: Missing = Field(
        default="drop",
        description="What happens where a value is missing: drop leaves the row out, mean puts the"
        " mean over all sites in its place, indicator does so and adds a term that says where."
        " A row without an outcome is always left out.",
    )
    test_fraction: Number = Field(
        default=0.0,
        ge=0,
        lt=1,
        description="Share of each site's rows held out for the metrics.",
    )
    seed: Integer = Field(
        default=1, ge=0, lt=2**32, description="Seed of the solver and of the held-out rows."
    )
    round_timeout: Number = Field(
        default=600.0,
        gt=0,
        le=86_400,
        description="Seconds after which a site that has not answered is left out of the round.",
    )
    proximal_mu: Number | None = Field(
        default=None, ge=0, description="fedprox: weight of the proximal term."
    )
    eta: Number | None = Field(
        default=None,
        gt=0,
        description="fedadam, fedyogi, fedadagrad: the server's learning rate.",
    )
    beta_1: Number | None = Field(
        default=None, ge=0, lt=1, description="fedadam, fedyogi: decay of the first moment."
    )
    beta_2: Number | None = Field(
        default=None, ge=0, lt=1, description="fedadam, fedyogi: decay of the second moment."
    )
    tau: Number | None = Field(
        default=None,
        gt=0,
        description="fedadam, fedyogi, fedadagrad: bounds how far the step adapts.",
    )
    server_learning_rate: Number | None = Field(
        default=None, gt=0, description="fedavgm: the server's learning rate."
    )
    server_momentum: Number | None = Field(
        default=None, ge=0, lt=1, description="fedavgm: the server's momentum."
    )

    @model_validator(mode="before")
    @classmethod
    def _fill_tuning(cls, data: Any) -> Any:
        """Give the strategy's own keys their defaults, so that the contract states every number."""
        if not isinstance(data, Mapping):
            return data
        filled = dict(data)
        own = dict(TUNING.get(str(data.get("strategy", "fedavg")), {}))
        if data.get("penalty") == "elasticnet":
            own["l1_ratio"] = 0.5
        for key, default in own.items():
            if filled.get(key) is None:
                filled.setdefault(_kebab(key), default)
        return filled

    @model_validator(mode="after")
    def _no_idle_key(self) -> Self:
        every = {key for keys in TUNING.values() for key in keys}
        for key in sorted(every - set(TUNING[self.strategy])):
            if getattr(self, key) is not None:
                users = ", ".join(name for name, keys in TUNING.items() if key in keys)
                raise _fault(
                    _kebab(key),
                    f'{_kebab(key)} has no effect with strategy = "{self.strategy}"'
                    f" (it belongs to {users})",
                    "remove it, or choose the strategy that uses it",
                )
        if self.l1_ratio is not None and self.penalty != "elasticnet":
            raise _fault(
                "l1-ratio",
                f'l1-ratio has no effect with penalty = "{self.penalty}"',
                'remove it, or choose penalty = "elasticnet"',
            )
        return self


class Privacy(_Section):
    """``[privacy]``: what protects the patients of every site."""

    secure_aggregation: StrictBool = Field(
        default=False,
        description="Mask each site's sums, so that the server sees the total only.",
    )
    min_rows: Integer = Field(
        default=20, ge=1, description="A site with fewer training rows takes no part."
    )
    min_cell: Integer = Field(
        default=5,
        ge=5,
        description="Smallest count, but zero, of missing values or in medhive describe, that may"
        " be shown; a site can only raise it.",
    )


def _levels(value: Any) -> Any:
    """Take levels as a table of code and label, a list of codes, or a list of pairs."""
    if isinstance(value, Mapping):
        pairs = [(code(key), str(label)) for key, label in value.items()]
    elif isinstance(value, list | tuple):
        pairs = [
            (code(item[0]), str(item[1]))
            if isinstance(item, list | tuple) and len(item) == 2
            else (code(item), code(item))
            for item in value
        ]
    else:
        raise ValueError("levels are a table of code and label, or a list of codes")
    return tuple(pairs)


_CODE: dict[str, Any] = {"type": ["string", "number"]}
_LEVELS_SCHEMA = {
    "anyOf": [
        {"type": "object", "additionalProperties": _CODE},
        {
            "type": "array",
            "items": {
                "anyOf": [
                    _CODE,
                    {"type": "array", "items": _CODE, "minItems": 2, "maxItems": 2},
                ]
            },
        },
    ]
}
"""What :func:`_levels` takes, for editors."""


class Feature(_Section):
    """One ``[[features]]`` entry: a column that every site must have.

    Parameters
    ----------
    name : str
        Column name.
    kind : {"continuous", "binary", "categorical"}
        Binary columns hold 0 and 1.
    unit : str
        Clinical unit of a continuous feature.
    range : (float, float), optional
        Smallest and largest possible value of a continuous feature.
    levels : table or list
        Codes, with a label each, of a categorical feature.
    reference : str, optional
        The level without an indicator; the first one where nothing is said.
    """

    name: StrictStr = Field(
        min_length=1, max_length=200, description="The column's name in every site's file."
    )
    kind: Kind = Field(description="continuous, binary (coded 0 and 1) or categorical.")
    unit: str = Field(default="", description="Clinical unit of a continuous feature.")
    range: tuple[Number, Number] | None = Field(
        default=None,
        description="[smallest, largest] possible value of a continuous feature; a value outside"
        " is refused.",
    )
    levels: Annotated[
        tuple[tuple[str, str], ...], BeforeValidator(_levels), WithJsonSchema(_LEVELS_SCHEMA)
    ] = Field(
        default=(),
        description="Every level that may occur: a table of code and label, or a list of codes.",
    )
    reference: Annotated[
        str | None,
        BeforeValidator(lambda v: None if v is None else code(v)),
        WithJsonSchema(_CODE),
    ] = Field(
        default=None,
        description="Code of the level that the others are compared with; the first one where"
        " nothing is said.",
    )

    @field_validator("name")
    @classmethod
    def _clean_name(cls, name: str) -> str:
        if name != name.strip() or not name.isprintable():
            raise ValueError("a feature's name has no space around it and no control character")
        if name == INTERCEPT:
            raise ValueError(f"{INTERCEPT} is the model's own name")
        return name

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        idle = ("levels", "reference") if self.kind == "continuous" else ("range", "unit")
        for key in idle:
            if getattr(self, key):
                raise _fault(key, f"a {self.kind} feature has no {key}", "remove it")
        if self.kind == "continuous":
            if self.range is not None and not self.range[0] < self.range[1]:
                raise _fault("range", "range is [smallest, largest]", "swap the two numbers")
            return self
        codes = self.codes
        if self.kind == "binary":
            if self.levels and set(codes) != {"0", "1"}:
                raise _fault(
                    "levels", "a binary feature is coded 0 and 1", 'use kind = "categorical"'
                )
            if self.reference not in (None, "0"):
                raise _fault("reference", "the reference of a binary feature is 0", "remove it")
            return self
        if len(codes) < 2:
            raise _fault(
                "levels",
                "a categorical feature needs at least two levels",
                "list every level that may occur",
            )
        if len(set(codes)) != len(codes):
            raise _fault(
                "levels", 'a level is listed twice (1, 1.0 and "1" are one level)', "remove one"
            )
        if self.reference is not None and self.reference not in codes:
            raise _fault(
                "reference",
                f"reference {self.reference} is not one of the levels",
                f"choose one of {', '.join(codes)}",
            )
        return self

    @property
    def codes(self) -> tuple[str, ...]:
        """Codes of the levels, in the contract's order."""
        return tuple(level for level, _ in self.levels)

    @property
    def indicators(self) -> tuple[str, ...]:
        """Codes that get an indicator column: every level but the reference."""
        reference = self.reference or (self.codes[0] if self.codes else None)
        return tuple(level for level in self.codes if level != reference)


class Term(NamedTuple):
    """One column of the design matrix.

    A feature, one level of a categorical feature, or where a feature has no value.
    """

    name: str
    feature: str
    level: str | None = None
    missing: bool = False


class Study(_Section):
    """A whole contract.

    Parameters
    ----------
    study : Header
    run : Run
    privacy : Privacy
    features : tuple of Feature
    """

    study: Header = Field(description="What the study is about.")
    run: Run = Field(
        default=Run(),
        description="How the model is trained; each key can be overridden with --run-config.",
    )
    privacy: Privacy = Field(
        default=Privacy(), description="What protects the patients of every site."
    )
    features: tuple[Feature, ...] = Field(
        min_length=1, description="The columns that the model uses, in the order of its terms."
    )

    @model_validator(mode="after")
    def _names_are_unique(self) -> Self:
        users = {self.study.outcome.column: "the outcome"}
        for number, feature in enumerate(self.features):
            if feature.name in users:
                raise _fault(
                    f"features.{number}.name",
                    f'column "{feature.name}" is already used by {users[feature.name]}',
                    "name another column, or remove one of the two",
                )
            users[feature.name] = "another feature"
        terms: set[str] = set()
        for number, feature in enumerate(self.features):
            for term in self.terms:
                if term.feature != feature.name:
                    continue
                if term.name in terms:
                    raise _fault(
                        f"features.{number}.name",
                        f'two model terms have the name "{term.name}"',
                        'give the level "missing" another code'
                        if "missing" in feature.indicators and term.missing
                        else "rename the column",
                    )
                terms.add(term.name)
        return self

    @cached_property
    def terms(self) -> tuple[Term, ...]:
        """Columns of the design matrix, in order, without the intercept."""
        terms: list[Term] = []
        for feature in self.features:
            if feature.kind == "categorical":
                terms += [
                    Term(f"{feature.name}[{level}]", feature.name, level)
                    for level in feature.indicators
                ]
            else:
                terms.append(Term(feature.name, feature.name))
            if self.run.missing == "indicator":
                terms.append(Term(f"{feature.name}[missing]", feature.name, missing=True))
        return tuple(terms)

    @property
    def columns(self) -> tuple[str, ...]:
        """Data columns that a site must have: the features, then the outcome."""
        return (*(feature.name for feature in self.features), self.study.outcome.column)

    @cached_property
    def canonical(self) -> str:
        """Canonical JSON: what is hashed, sent and approved."""
        return json.dumps(
            self.model_dump(mode="json", by_alias=True, exclude_none=True),
            sort_keys=True,
            separators=(",", ":"),
            ensure_ascii=False,
        )

    @cached_property
    def sha256(self) -> str:
        """The study's identity, 64 hexadecimal digits."""
        return hashlib.sha256(self.canonical.encode()).hexdigest()
