"""Make a small synthetic OMOP CDM v5.4 database: no row of it is a real patient.

    python make_omop.py omop.db
    python make_omop.py north.db --persons 400 --seed 2 --si-units

Tables and columns are those of the Common Data Model 5.4 that the example's query reads; concepts
have the identifiers of the OHDSI standardised vocabularies.
"""

from __future__ import annotations

import argparse
import datetime
import math
import random
import sqlite3
from pathlib import Path

MALE, FEMALE = 8507, 8532
INFARCTION, DIABETES = 4329847, 201826
CHOLESTEROL, GLUCOSE, SYSTOLIC = 3027114, 3004501, 3004249
MG_DL, MMOL_L, MMHG = 8840, 8753, 8876

CONCEPTS = (
    (MALE, "MALE", "Gender", "Gender", "M"),
    (FEMALE, "FEMALE", "Gender", "Gender", "F"),
    (INFARCTION, "Myocardial infarction", "Condition", "SNOMED", "22298006"),
    (DIABETES, "Type 2 diabetes mellitus", "Condition", "SNOMED", "44054006"),
    (CHOLESTEROL, "Cholesterol [Mass/volume] in Serum or Plasma", "Measurement", "LOINC", "2093-3"),
    (GLUCOSE, "Glucose [Mass/volume] in Serum or Plasma", "Measurement", "LOINC", "2345-7"),
    (SYSTOLIC, "Systolic blood pressure", "Measurement", "LOINC", "8480-6"),
    (MG_DL, "milligram per deciliter", "Unit", "UCUM", "mg/dL"),
    (MMOL_L, "millimole per liter", "Unit", "UCUM", "mmol/L"),
    (MMHG, "millimeter mercury column", "Unit", "UCUM", "mm[Hg]"),
)

SCHEMA = """
CREATE TABLE concept (
    concept_id INTEGER PRIMARY KEY, concept_name TEXT NOT NULL, domain_id TEXT NOT NULL,
    vocabulary_id TEXT NOT NULL, concept_code TEXT NOT NULL
);
CREATE TABLE person (
    person_id INTEGER PRIMARY KEY, gender_concept_id INTEGER NOT NULL,
    year_of_birth INTEGER NOT NULL
);
CREATE TABLE condition_occurrence (
    condition_occurrence_id INTEGER PRIMARY KEY, person_id INTEGER NOT NULL,
    condition_concept_id INTEGER NOT NULL, condition_start_date TEXT NOT NULL
);
CREATE TABLE measurement (
    measurement_id INTEGER PRIMARY KEY, person_id INTEGER NOT NULL,
    measurement_concept_id INTEGER NOT NULL, measurement_date TEXT NOT NULL,
    value_as_number REAL, unit_concept_id INTEGER
);
"""


def make_omop(path: Path, persons: int = 300, seed: int = 1, si_units: bool = False) -> None:
    """Write the database.

    Parameters
    ----------
    path : Path
        A new SQLite file.
    persons : int
    seed : int
    si_units : bool
        Store glucose and cholesterol in mmol/l instead of mg/dl.
    """
    rng = random.Random(seed)
    people, conditions, measurements = [], [], []
    for person in range(1, persons + 1):
        age, male = rng.randint(35, 85), rng.random() < 0.5
        diabetes = rng.random() < 0.2
        cholesterol = rng.gauss(205, 38)
        glucose = rng.gauss(150 if diabetes else 98, 14)
        systolic = rng.gauss(118 + 0.3 * (age - 35), 14)
        logit = -2.6 + 0.05 * (age - 60) + 0.6 * male + 0.9 * diabetes
        logit += 0.01 * (cholesterol - 205) + 0.02 * (systolic - 125)
        people.append((person, MALE if male else FEMALE, 2020 - age))
        day = datetime.date(2019, 1, 1) + datetime.timedelta(days=rng.randrange(300))
        if diabetes:
            conditions.append((person, DIABETES, day.isoformat()))
        if rng.random() < 1 / (1 + math.exp(-logit)):
            conditions.append((person, INFARCTION, "2020-06-01"))
        for concept, value, mass, unit in (
            (CHOLESTEROL, cholesterol, 38.666, MG_DL),
            (GLUCOSE, glucose, 18.0156, MG_DL),
            (SYSTOLIC, systolic, None, MMHG),
        ):
            if rng.random() < 0.03:
                continue
            in_si = si_units and mass is not None
            number = round(value / mass, 2) if in_si and mass else round(value, 1)
            # an older value, which the query must not take
            earlier = (day - datetime.timedelta(days=200)).isoformat()
            measurements.append((person, concept, earlier, 0.0, MMOL_L if in_si else unit))
            measurements.append(
                (person, concept, day.isoformat(), number, MMOL_L if in_si else unit)
            )
    with sqlite3.connect(path) as connection:
        connection.executescript(SCHEMA)
        connection.executemany("INSERT INTO concept VALUES (?, ?, ?, ?, ?)", CONCEPTS)
        connection.executemany("INSERT INTO person VALUES (?, ?, ?)", people)
        connection.executemany(
            "INSERT INTO condition_occurrence (person_id, condition_concept_id,"
            " condition_start_date) VALUES (?, ?, ?)",
            conditions,
        )
        connection.executemany(
            "INSERT INTO measurement (person_id, measurement_concept_id, measurement_date,"
            " value_as_number, unit_concept_id) VALUES (?, ?, ?, ?, ?)",
            measurements,
        )
    connection.close()


def main() -> None:
    """Run the script."""
    parser = argparse.ArgumentParser(description="Make a synthetic OMOP CDM 5.4 database.")
    parser.add_argument("path", type=Path)
    parser.add_argument("--persons", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--si-units", action="store_true", help="mmol/l instead of mg/dl")
    options = parser.parse_args()
    if options.path.exists():
        parser.error(f"{options.path} exists")
    make_omop(options.path, options.persons, options.seed, options.si_units)


if __name__ == "__main__":
    main()
