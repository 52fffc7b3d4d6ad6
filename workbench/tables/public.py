"""What is published of named datasets apart from their rows: bounds, levels and gaps by codebook.

A private generator that reads a range or a label off the rows reveals it. These are from the
documents named beside each column. Where no document gives a bound, a round number stands in its
place, and the column is listed as undocumented: whoever chose the number may have seen the rows, so
a guarantee says that such a bound is not covered. A row outside is moved inside.
"""

from __future__ import annotations

from workbench.tables.schema import Schema

_YES_NO: list[bool] = [False, True]


def _words(text: str) -> list[str]:
    return text.split()


# UCI Machine Learning Repository, adult.names: rows of the Current Population Survey of March 1994
# with "((AAGE>16) && (AGI>100) && (AFNLWGT>1)&& (HRSWK>0))"; all numbers are "continuous".
_ADULT = {
    "bounds": {
        # AAGE>16; the survey's topcode.
        "age": (17, 90),
        # AFNLWGT>1 gives the lower end. No document gives an upper one.
        "fnlwgt": (0, 2_000_000),
        # adult.names lists 16 levels of education, and this is their number.
        "education-num": (1, 16),
        # Five digits of the survey's field.
        "capital-gain": (0, 99_999),
        # No document gives an upper end.
        "capital-loss": (0, 10_000),
        # HRSWK>0; two digits of the survey's field.
        "hours-per-week": (1, 99),
    },
    # All levels as adult.names lists them.
    "levels": {
        "workclass": _words(
            "Private Self-emp-not-inc Self-emp-inc Federal-gov Local-gov State-gov Without-pay "
            "Never-worked"
        ),
        "education": _words(
            "Bachelors Some-college 11th HS-grad Prof-school Assoc-acdm Assoc-voc 9th 7th-8th 12th "
            "Masters 1st-4th 10th Doctorate 5th-6th Preschool"
        ),
        "marital-status": _words(
            "Married-civ-spouse Divorced Never-married Separated Widowed Married-spouse-absent "
            "Married-AF-spouse"
        ),
        "occupation": _words(
            "Tech-support Craft-repair Other-service Sales Exec-managerial Prof-specialty "
            "Handlers-cleaners Machine-op-inspct Adm-clerical Farming-fishing Transport-moving "
            "Priv-house-serv Protective-serv Armed-Forces"
        ),
        "relationship": _words("Wife Own-child Husband Not-in-family Other-relative Unmarried"),
        "race": _words("White Asian-Pac-Islander Amer-Indian-Eskimo Other Black"),
        "sex": ["Female", "Male"],
        "native-country": _words(
            "United-States Cambodia England Puerto-Rico Canada Germany Outlying-US(Guam-USVI-etc) "
            "India Japan Greece South China Cuba Iran Honduras Philippines Italy Poland Jamaica "
            "Vietnam Mexico Portugal Ireland France Dominican-Republic Laos Ecuador Taiwan Haiti "
            "Columbia Hungary Guatemala Nicaragua Scotland Thailand Yugoslavia El-Salvador "
            "Trinadad&Tobago Peru Hong Holand-Netherlands"
        ),
        "income": ["<=50K", ">50K"],
    },
    # adult.names counts unknown values and does not say where; these three are its usual columns.
    "missing": ["workclass", "occupation", "native-country"],
    "undocumented": ["fnlwgt", "capital-loss"],
}

# Hunter and Walker 1996 and Wooldridge's loanapp.des: amounts in thousands of dollars, ratios in
# percent, terms in months. Units (one to four families) and the codes of credit histories are those
# of the Boston Fed's study (Munnell et al. 1996), and so are its three groups. Other numbers have no
# documented bound: round numbers beyond any application for a mortgage in Boston in 1990.
_LOANS = {
    "bounds": {
        "loanamt": (0, 1000),
        "appinc": (0, 1000),
        "unit": (1, 4),
        "dep": (0, 10),
        "price": (0, 1500, 0.001),
        "liq": (0, 10_000, 0.001),
        "hrat": (0, 100, 0.01),
        "obrat": (0, 100, 0.01),
        "term": (0, 480),
        "netw": (-10_000, 30_000, 0.001),
        "unem": (0, 15, 0.1),
    },
    "levels": {
        **dict.fromkeys(
            ("married", "self", "gdlin", "pubrec", "unver", "min30", "sch", "male", "approve"),
            _YES_NO,
        ),
        "mortg": ["1", "2", "3", "4"],
        "cons": ["1", "2", "3", "4", "5", "6"],
        "race": ["white", "black", "hispanic"],
    },
    # No document says which columns have gaps: all may, but for the answer to the application.
    "missing": _words(
        "loanamt appinc unit married dep self price liq gdlin mortg cons pubrec hrat obrat term "
        "unver netw unem min30 sch male race"
    ),
    "undocumented": _words("loanamt appinc dep price liq hrat obrat term netw unem"),
}

# UCI Machine Learning Repository, bank-names.txt (Moro, Laureano and Cortez 2011): the labels of each
# attribute, "Missing Attribute Values: None", campaign "includes last contact", pdays "-1 means client
# was not previously contacted". Numbers are "numeric", without bounds.
_BANK = {
    "bounds": {
        "age": (0, 120),
        "balance": (-10_000, 100_000),
        # "last contact day of the month".
        "day": (1, 31),
        # The last contact is counted, so there is one; no document gives an upper end.
        "campaign": (1, 100),
        "pdays": (-1, 1000),
        "previous": (0, 100),
    },
    "levels": {
        "job": _words(
            "admin. unknown unemployed management housemaid entrepreneur student blue-collar "
            "self-employed retired technician services"
        ),
        "marital": _words("married divorced single"),
        "education": _words("unknown secondary primary tertiary"),
        "default": ["no", "yes"],
        "housing": ["no", "yes"],
        "loan": ["no", "yes"],
        "y": ["no", "yes"],
        "contact": _words("unknown telephone cellular"),
        "month": _words("jan feb mar apr may jun jul aug sep oct nov dec"),
        "poutcome": _words("unknown other failure success"),
    },
    "missing": [],
    "undocumented": _words("age balance campaign pdays previous"),
}

# Angwin, Larson, Mattu and Kirchner 2016, "How we analyzed the COMPAS recidivism algorithm": scores from
# 1 to 10 in three groups, the six groups of race of its tables, felonies and misdemeanors alone, and
# charges within 30 days of the screening. It prints no bounds of ages and counts.
_COMPAS = {
    "bounds": {
        "age": (18, 100),
        "juv_fel_count": (0, 20),
        "juv_misd_count": (0, 20),
        "juv_other_count": (0, 20),
        "priors_count": (0, 50),
        "days_b_screening_arrest": (-30, 30),
        "decile_score": (1, 10),
        "v_decile_score": (1, 10),
    },
    "levels": {
        "sex": ["Female", "Male"],
        "age_cat": ["Less than 25", "25 - 45", "Greater than 45"],
        "race": [
            "African-American",
            "Asian",
            "Caucasian",
            "Hispanic",
            "Native American",
            "Other",
        ],
        "c_charge_degree": ["F", "M"],
        "score_text": ["Low", "Medium", "High"],
        "v_score_text": ["Low", "Medium", "High"],
        "two_year_recid": _YES_NO,
    },
    # No document says which columns have gaps: all may, but for the outcome.
    "missing": _words(
        "sex age age_cat race juv_fel_count juv_misd_count juv_other_count priors_count "
        "days_b_screening_arrest c_charge_degree decile_score score_text v_decile_score v_score_text"
    ),
    "undocumented": _words("age juv_fel_count juv_misd_count juv_other_count priors_count"),
}

PUBLIC = {
    "adult": _ADULT,
    "loans": _LOANS,
    "bank_marketing": _BANK,
    "compas_filtered": _COMPAS,
}
"""By dataset, what Private's fields bounds, levels and missing take, and the columns whose bounds
stand in no document.
"""


def public_domain(schema: Schema) -> dict | None:
    """The published domain of the dataset that has exactly these columns; None where none has.

    >>> from workbench.tables.schema import Column, Schema
    >>> public_domain(Schema((Column("x", "numeric"),))) is None
    True
    """
    names = set(schema.names)
    for known in PUBLIC.values():
        if names == {*known["bounds"], *known["levels"]}:
            return known
    return None
