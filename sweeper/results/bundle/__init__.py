"""A sweep as one file that anyone can check: its records, and what was concluded from them.

    bundle.json                    format, sweep, version; size and SHA-256 of every other file
    cells.json                     every planned cell: what became of it, and its stages
    plan.json                      the recorded plan (absent where all scores were imported)
    provenance.json                versions, models, how they were made
    stages/<stage>/manifest.json   which attempt made it, where, when and with what
    stages/<stage>/result.json     what it found: scores, sizes, rates
    stages/<stage>/documents.jsonl what was answered: a document a line
    stages/<stage>/answers.json    their scores once more, and a digest of each line
    tables/<table>.csv             the tables of the report
    verdicts.json                  the verdicts in words

`archive` is the file, `portable` what leaves the machine, `records` and `answers` what is in it,
`conclusions` what follows from it, `verify` holds all of it together. What checks a bundle needs
numpy, scipy and pandas, and neither torch nor Hydra:
``python -m isorate.start sweeper.results.bundle FILE``.
"""
