"""The tool itself: it applies the files of a directory to one database, and keeps one ledger."""
