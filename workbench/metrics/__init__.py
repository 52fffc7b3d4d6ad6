"""The metric contract: a metric is a function of a Trial that yields Rows.

METRICS maps a metric's name to "module:function". The function's docstring gives formula, source,
range, direction and known failure; `evaluate` runs it on the synthetic table and on the two
reference tables that become ceiling and floor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass, field
from pkgutil import resolve_name

import numpy as np
import pandas as pd

from workbench.errors import InputError, nearest
from workbench.tables.schema import Schema


@dataclass(frozen=True)
class Guarantee:
    """What a generator claims to have kept: (epsilon, delta)-differential privacy, and in words by
    which account.
    """

    epsilon: float
    delta: float
    words: str

    @classmethod
    def of(cls, generator: object) -> Guarantee | None:
        """From the attributes epsilon_spent, delta_spent and guarantee that a private generator
        sets when it is fitted.
        """
        # A fit whose noise can be repeated has spent an infinite epsilon: it claims nothing.
        epsilon = getattr(generator, "epsilon_spent", None)
        if epsilon is None or not np.isfinite(epsilon):
            return None
        delta = getattr(generator, "delta_spent")  # noqa: B009 - any object may be given
        return cls(float(epsilon), float(delta), str(getattr(generator, "guarantee")))  # noqa: B009


@dataclass(frozen=True)
class Trial:
    """What a metric reads. Metrics of your own take one and yield rows.

    Attributes
    ----------
    train, test : DataFrame
        Real rows: those that the generator saw, and those that it did not.
    synthetic : DataFrame
        The table that is scored.
    schema : Schema
        What each column is.
    seed : int
        For whatever the metric draws.
    guarantee : Guarantee, optional
        What the table's generator claims about privacy, if anything.
    shares : names of metrics
        Metrics whose equivalent share of real rows is measured, if not the usual ones.
    memo : dict
        What metrics of the same tables have computed already; see `once`.

    Examples
    --------
    >>> from workbench import load
    >>> data = load("loans")
    >>> trial = Trial(data.train, data.test, data.train, data.schema)
    >>> len(trial.synthetic)
    1393
    """

    train: pd.DataFrame
    test: pd.DataFrame
    synthetic: pd.DataFrame
    schema: Schema
    seed: int = 0
    guarantee: Guarantee | None = None
    shares: tuple[str, ...] = ()
    memo: dict = field(default_factory=dict, repr=False, compare=False)

    def once(self, name: str, table: pd.DataFrame, compute: Callable):
        """compute(), once for this very table among the trials that share its memo (`replace` hands
        it on).
        """
        # By identity: to hash a large table would cost more than most of what is kept here.
        key = name, id(table)
        if key not in self.memo:
            self.memo[key] = table, compute()  # the table is kept, so that no other one gets its id
        return self.memo[key][1]

    def rows(self, function: str) -> list[Row]:
        """What a metric's function ("module:function") yields of this trial, measured once."""
        name = f"rows of {function}"
        return self.once(name, self.synthetic, lambda: list(resolve_name(function)(self)))

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator of its own for each purpose, so that one metric's draws never move another's."""
        return np.random.default_rng([self.seed, *purpose.encode()])


# What a row's number is: a reading; not defined for this table; a reading that says nothing; too few
# rows to measure it; a metric that broke. Code reads these words, never the words of a note.
OK = "ok"
NOT_APPLICABLE = "not-applicable"
NOT_INFORMATIVE = "not-informative"
INSUFFICIENT = "insufficient"
ERROR = "error"
STATES = (OK, NOT_APPLICABLE, NOT_INFORMATIVE, INSUFFICIENT, ERROR)


@dataclass(frozen=True)
class Row:
    """One measured number, with its 95% interval where it has one.

    Parameters
    ----------
    metric : its registered name
    value, low, high : the reading and the ends of its 95% interval; NaN where there is none
    column, group : what the number is about, "" for the whole table
    state : one of STATES, which code reads
    note : words for people, such as why a value is missing

    Raises
    ------
    InputError
        For another state, and for a value or an end that is no number.

    Examples
    --------
    >>> Row("marginals", 0.93, 0.91, 0.95, column="age").state
    'ok'
    """

    metric: str
    value: float
    low: float = np.nan
    high: float = np.nan
    # By keyword only: a name that slips into `low` would be kept as a number's end.
    _: KW_ONLY
    column: str = ""
    group: str = ""
    state: str = OK
    note: str = ""

    def __post_init__(self):
        if self.state not in STATES:
            raise InputError(f"unknown state {self.state!r}; {nearest(self.state, STATES)}")
        for name in ("value", "low", "high"):
            number = getattr(self, name)
            if isinstance(number, str) or not np.isscalar(number):
                raise InputError(f"a Row's {name} is a number, not {number!r}.")


@dataclass(frozen=True)
class Metric:
    """A registered metric: where its function lives and how to read its values.

    Several metrics may share one function, which `evaluate` runs once. `reads` names the real table
    that the synthetic one is held against; the ceiling is the other real table in its place, a
    fresh real sample (half of test for a metric that reads both). `floor` names the table that has
    lost what the metric measures: train with each column permuted, uniform columns, or a raw copy
    of train; "" where no table is a sensible one.
    """

    function: str  # "module:function"
    family: str  # fidelity, utility, bias, privacy
    direction: str  # "up" is better, "down" is better, or "zero": distance from zero is worse
    title: str
    reads: str = "test"  # test, train, or "train and test"
    floor: str = "permuted"  # permuted, uniform or copy
    needs: tuple[str, ...] = ()  # of NEEDS: without them the metric is not run
    difference: bool = False  # held against 0, so it speaks for itself whatever its references read

    def load(self) -> Callable[[Trial], Iterator[Row]]:
        return resolve_name(self.function)

    @property
    def speaks_for_itself(self) -> bool:
        """Whether a reading is held against 0, so that no place between two references counts."""
        return self.difference or self.direction == "zero"

    def lacks(self, schema: Schema) -> str:
        """What this metric needs and the schema has not, in words; "" where it can be measured."""
        # The first lack is enough for a sentence.
        for need in self.needs:
            has, words = NEEDS[need]
            if not has(schema):
                return words
        return ""


# What a metric may need of a schema, and the words for a schema without it.
NEEDS: dict[str, tuple[Callable[[Schema], bool], str]] = {
    "sensitive": (lambda schema: bool(schema.sensitive), "no sensitive column declared"),
    "target": (lambda schema: schema.target is not None, "no target column declared"),
    "analysis": (
        lambda schema: schema.target is not None or bool(schema.analysis),
        "no target column and no analysis declared",
    ),
    "keys": (lambda schema: bool(schema.keys), "no keys declared, such as keys=['age', 'sex']"),
    "labels": (lambda schema: schema.task == "classification", "the target holds numbers"),
    "numbers": (lambda schema: schema.task == "regression", "the target holds labels"),
}


METRICS: dict[str, Metric] = {
    "marginals": Metric(
        "workbench.metrics.fidelity:marginals", "fidelity", "up", "Marginals", floor="uniform"
    ),
    "worst_column": Metric(
        "workbench.metrics.fidelity:marginals", "fidelity", "up", "Worst column", floor="uniform"
    ),
    "pair_trends": Metric(
        "workbench.metrics.fidelity:pair_trends", "fidelity", "up", "Pair trends"
    ),
    "kway_tables": Metric(
        "workbench.metrics.ways:kway_tables", "fidelity", "up", "Tables of two and three columns"
    ),
    "equivalent_share": Metric(
        "workbench.metrics.equivalent:equivalent_share",
        "fidelity",
        "up",
        "Equivalent share of real rows",
    ),
    "c2st": Metric("workbench.metrics.fidelity:c2st", "fidelity", "down", "Told apart: C2ST AUC"),
    "pmse_ratio": Metric(
        "workbench.metrics.propensity:pmse_ratio", "fidelity", "down", "pMSE ratio"
    ),
    "violations": Metric(
        "workbench.metrics.violations:violations",
        "fidelity",
        "down",
        "Rows that break a rule",
        reads="train",
    ),
    "alpha_precision": Metric(
        "workbench.metrics.precision:alpha_precision",
        "fidelity",
        "up",
        "Depth of rows, alpha-precision",
        floor="uniform",
    ),
    "coverage": Metric(
        "workbench.metrics.fidelity:coverage", "fidelity", "up", "Coverage of real rows"
    ),
    "shape_error": Metric(
        "workbench.metrics.published:published_errors",
        "fidelity",
        "down",
        "Shape error %",
        "train",
        "uniform",
    ),
    "trend_error": Metric(
        "workbench.metrics.published:published_errors", "fidelity", "down", "Trend error %", "train"
    ),
    "tstr_auc": Metric(
        "workbench.metrics.utility:utility",
        "utility",
        "up",
        "TSTR ROC AUC",
        needs=("target", "labels"),
    ),
    "average_precision": Metric(
        "workbench.metrics.utility:utility",
        "utility",
        "up",
        "TSTR average precision",
        needs=("target", "labels"),
    ),
    "brier": Metric(
        "workbench.metrics.utility:utility",
        "utility",
        "down",
        "TSTR Brier score",
        needs=("target", "labels"),
    ),
    "log_loss": Metric(
        "workbench.metrics.utility:utility",
        "utility",
        "down",
        "TSTR log-loss",
        needs=("target", "labels"),
    ),
    "calibration_error": Metric(
        "workbench.metrics.utility:utility",
        "utility",
        "down",
        "TSTR calibration error",
        floor="",
        needs=("target", "labels"),
    ),
    "tstr_r2": Metric(
        "workbench.metrics.utility:utility", "utility", "up", "TSTR R2", needs=("target", "numbers")
    ),
    "tstr_rmse": Metric(
        "workbench.metrics.utility:utility",
        "utility",
        "down",
        "TSTR RMSE",
        needs=("target", "numbers"),
    ),
    "utility_ratio": Metric(
        "workbench.metrics.utility:utility", "utility", "up", "Utility kept (U)", needs=("target",)
    ),
    "subgroup_tstr": Metric(
        "workbench.metrics.subgroups:subgroup_tstr",
        "utility",
        "up",
        "TSTR of the worst-served group",
        needs=("sensitive", "target"),
    ),
    "kendall_tau": Metric(
        "workbench.metrics.utility:model_ranking",
        "utility",
        "up",
        "Ranking of models: Kendall tau",
        needs=("target",),
    ),
    "coefficient_overlap": Metric(
        "workbench.metrics.inference:analysis",
        "utility",
        "up",
        "Overlap of coefficients' intervals",
        reads="train",
        needs=("analysis",),
    ),
    "coefficient_shift": Metric(
        "workbench.metrics.inference:analysis",
        "utility",
        "down",
        "Largest shift of a coefficient",
        reads="train",
        needs=("analysis",),
    ),
    "conclusions_kept": Metric(
        "workbench.metrics.inference:analysis",
        "utility",
        "up",
        "Conclusions kept",
        reads="train",
        needs=("analysis",),
    ),
    "augmentation_gain": Metric(
        "workbench.metrics.scarcity:augmentation_gain",
        "utility",
        "up",
        "Augmentation gain",
        "train and test",
        needs=("target",),
        difference=True,
    ),
    "rare_class_gain": Metric(
        "workbench.metrics.scarcity:rare_class_gain",
        "utility",
        "up",
        "Rare-class gain, AP",
        "train and test",
        needs=("target", "labels"),
        difference=True,
    ),
    "edge_coverage": Metric(
        "workbench.metrics.scarcity:edge_coverage",
        "utility",
        "up",
        "Coverage of edge rows",
        "train and test",
    ),
    "tail_mass": Metric(
        "workbench.metrics.scarcity:tail_mass",
        "utility",
        "zero",
        "Tail mass, log-ratio",
        floor="uniform",
    ),
    "distinct_1": Metric(
        "workbench.metrics.text:diversity",
        "fidelity",
        "up",
        "Distinct words of texts",
        floor="uniform",
    ),
    "distinct_2": Metric(
        "workbench.metrics.text:diversity", "fidelity", "up", "Distinct word pairs", floor="uniform"
    ),
    "self_bleu": Metric(
        "workbench.metrics.text:diversity",
        "fidelity",
        "down",
        "Self-BLEU of texts",
        floor="uniform",
    ),
    "text_duplicates": Metric(
        "workbench.metrics.text:duplicates",
        "fidelity",
        "down",
        "Texts nearly repeated",
        floor="uniform",
    ),
    "text_tstr_auc": Metric(
        "workbench.metrics.text:text_utility",
        "utility",
        "up",
        "TSTR ROC AUC, texts alone",
        needs=("target", "labels"),
    ),
    "bias_amp": Metric(
        "workbench.metrics.bias:bias_amp",
        "bias",
        "zero",
        "Bias amplification",
        reads="train",
        needs=("sensitive", "target"),
    ),
    "bias_amp_reverse": Metric(
        "workbench.metrics.bias:bias_amp",
        "bias",
        "zero",
        "Bias amplification, target to group",
        reads="train",
        needs=("sensitive", "target"),
    ),
    "bias_amp_multi": Metric(
        "workbench.metrics.bias:bias_amp_multi",
        "bias",
        "down",
        "Label shares moved, groups and pairs",
        reads="train",
        needs=("sensitive", "target"),
    ),
    "bias_amp_zhao": Metric(
        "workbench.metrics.bias:bias_amp_zhao",
        "bias",
        "zero",
        "Bias amplification, Zhao 2017",
        reads="train",
        needs=("sensitive", "target"),
    ),
    "model_bias_amp": Metric(
        "workbench.metrics.fairness:model_bias_amp",
        "bias",
        "zero",
        "Bias amplification of a model",
        needs=("sensitive", "target"),
    ),
    "representation": Metric(
        "workbench.metrics.bias:representation",
        "bias",
        "zero",
        "Representation, log-odds",
        "train",
        "uniform",
        needs=("sensitive",),
    ),
    "vanished_groups": Metric(
        "workbench.metrics.bias:representation",
        "bias",
        "down",
        "Groups that vanished",
        "train",
        "",
        needs=("sensitive",),
    ),
    "cramers_v_shift": Metric(
        "workbench.metrics.bias:cramers_v_shift",
        "bias",
        "zero",
        "Change in Cramer's V",
        reads="train",
        needs=("sensitive", "target"),
    ),
    "demographic_parity_shift": Metric(
        "workbench.metrics.fairness:demographic_parity_shift",
        "bias",
        "zero",
        "Change in demographic parity",
        needs=("sensitive", "target", "labels"),
    ),
    "equalized_odds_shift": Metric(
        "workbench.metrics.fairness:equalized_odds_shift",
        "bias",
        "zero",
        "Change in equalized odds",
        needs=("sensitive", "target", "labels"),
    ),
    "worst_group": Metric(
        "workbench.metrics.fairness:worst_group",
        "bias",
        "down",
        "Worst group, AUC lost",
        needs=("sensitive", "target", "labels"),
        difference=True,
    ),
    "excess_copies": Metric(
        "workbench.metrics.privacy:excess_copies",
        "privacy",
        "down",
        "Excess copies",
        reads="train",
        floor="copy",
    ),
    "near_copies": Metric(
        "workbench.metrics.privacy:near_copies",
        "privacy",
        "down",
        "Excess near copies",
        reads="train",
        floor="copy",
    ),
    "authenticity": Metric(
        "workbench.metrics.precision:authenticity",
        "privacy",
        "up",
        "Authentic rows",
        reads="train",
        floor="copy",
    ),
    "dcr_share": Metric(
        "workbench.metrics.privacy:dcr_share",
        "privacy",
        "down",
        "Closer to train (DCR)",
        "train and test",
        "copy",
    ),
    "membership_auc": Metric(
        "workbench.metrics.privacy:membership",
        "privacy",
        "down",
        "Membership attack AUC",
        "train and test",
        "copy",
    ),
    "membership_tpr": Metric(
        "workbench.metrics.privacy:membership",
        "privacy",
        "down",
        "Membership TPR at 1% FPR",
        "train and test",
        "copy",
    ),
    "empirical_epsilon": Metric(
        "workbench.metrics.privacy:membership",
        "privacy",
        "down",
        "Epsilon, empirical lower bound",
        "train and test",
        "copy",
    ),
    "epsilon": Metric(
        "workbench.metrics.privacy:epsilon",
        "privacy",
        "down",
        "Epsilon spent, as claimed",
        floor="",
    ),
    "replicated_uniques": Metric(
        "workbench.metrics.disclosure:disclosure",
        "privacy",
        "down",
        "Replicated uniques (repU)",
        reads="train",
        floor="copy",
        needs=("keys",),
    ),
    "disco": Metric(
        "workbench.metrics.disclosure:disclosure",
        "privacy",
        "down",
        "Disclosive and correct (DiSCO)",
        reads="train",
        floor="copy",
        needs=("keys",),
    ),
    "memorised_texts": Metric(
        "workbench.metrics.text:memorised",
        "privacy",
        "down",
        "Texts nearly of train",
        "train",
        "copy",
    ),
    "attack_risk": Metric(
        "workbench.metrics.attacks:attack_risk",
        "privacy",
        "down",
        "Worst attack risk",
        "train and test",
        "copy",
    ),
}


def get(name: str) -> Metric:
    if name not in METRICS:
        raise InputError(f"unknown metric {name!r}; {nearest(name, METRICS)}")
    return METRICS[name]


def in_order(rows: pd.DataFrame, names: Iterable[str] = METRICS) -> pd.DataFrame:
    """Rows by the place of their metric among `names`, unknown ones last; rows of one metric keep
    their order.
    """
    # Unknown names have no place, and pandas sorts what is missing last.
    place = {name: count for count, name in enumerate(names)}
    return rows.sort_values(
        "metric", key=lambda metrics: metrics.map(place), kind="stable", ignore_index=True
    )


FAMILIES = ("fidelity", "utility", "bias", "privacy")

# Measured as any other, and shown under "more": each repeats what another metric says, and papers
# print it.
FOLDED = frozenset(
    {
        "shape_error",
        "trend_error",
        "log_loss",
        "average_precision",
        "bias_amp_zhao",
        "bias_amp_reverse",
        "model_bias_amp",
        "distinct_1",
        "dcr_share",
    }
)


UNKNOWN = Metric("", "fidelity", "up", "")


def titled(metric: str) -> str:
    return METRICS[metric].title if metric in METRICS else metric
