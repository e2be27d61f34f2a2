-- One row a person: the latest measurements before the index date, and a first myocardial
-- infarction in the year after it. Plain SQL that SQLite and PostgreSQL take alike.
WITH latest AS (
    SELECT
        person_id,
        measurement_concept_id,
        value_as_number,
        ROW_NUMBER() OVER (
            PARTITION BY person_id, measurement_concept_id
            ORDER BY measurement_date DESC, measurement_id DESC
        ) AS place
    FROM measurement
    WHERE measurement_date < '2020-01-01'
)

SELECT
    2020 - p.year_of_birth AS age,
    p.gender_concept_id,
    MAX(CASE WHEN l.measurement_concept_id = 3027114 THEN l.value_as_number END) AS cholesterol,
    MAX(CASE WHEN l.measurement_concept_id = 3004501 THEN l.value_as_number END) AS glucose,
    MAX(CASE WHEN l.measurement_concept_id = 3004249 THEN l.value_as_number END) AS systolic,
    CASE WHEN EXISTS (
        SELECT 1 FROM condition_occurrence AS c
        WHERE c.person_id = p.person_id AND c.condition_concept_id = 201826
            AND c.condition_start_date < '2020-01-01'
    ) THEN 1 ELSE 0 END AS diabetes,
    CASE WHEN EXISTS (
        SELECT 1 FROM condition_occurrence AS c
        WHERE c.person_id = p.person_id AND c.condition_concept_id = 4329847
            AND c.condition_start_date >= '2020-01-01' AND c.condition_start_date < '2021-01-01'
    ) THEN 1 ELSE 0 END AS infarction
FROM person AS p
LEFT JOIN latest AS l ON l.person_id = p.person_id AND l.place = 1
GROUP BY p.person_id, p.year_of_birth, p.gender_concept_id
ORDER BY p.person_id
