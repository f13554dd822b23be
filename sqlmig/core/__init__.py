"""The tool itself: it applies the files of a directory to one database, and keeps one ledger.

How a file is applied, in the order to read:

    runner.py             run: plan, run each step, plan again after another runner
    steps.py, plan.py     the files of a run; the versions that a request means
    transaction.py        file_transaction: all pieces of a file's transaction, in order
    ledger_pieces.py      the lock, the checks and the row; their SQL is in ledger.sql
    sending.py            send_pieces: as few messages to the server as possible

Where to look for:

    another runner        ledger.sql: “lock” fails at once, instead of waiting.
                          sending.py: _own_refusal turns that into PlanIsStale.
                          runner.py: plan_again. session.py: catch_up waits for the lock.
    an error's place      sending.py: explain, from the server's position in a batch to the
                          byte in the file. text.py: find_place, from there to the line.
                          hints.py: what to do about it.
    a directive           sqlfile.py: _refuse_wrong_directive decides, _scan gives SqlFile its
                          field, and DIRECTIVES lists it in a message.
    a setting of a file   transaction.py: _file_settings. outside_transaction.py: _prepare.
                          The script has its own: script/script.sql, “step”.
    files without a transaction, files that repeat
                          outside_transaction.py, repeated.py
    a failure to try again
                          attempts.py; runner.py: pause_before_next_try
    the statements of a text
                          lexer.py, sqlfile.py
    the ledger            ledger.py: its statements. reading.py: its contents.
                          session.py: the connection, the files and the ledger of one run.
    the driver            connection.py: the only module that imports psycopg

With many schemas, schemas/jobs.py runs each in a thread, and keeps its failure in an Outcome.
cli/reporting.py prints the failures: on_each collects them, and report_failed returns the exit
code. A command returns it through cli/running.py, and cli/__init__.py gives it to the process.
"""
