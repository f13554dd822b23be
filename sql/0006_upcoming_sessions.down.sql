-- Undoes 0006: the sessions to come are a query again.

DROP VIEW upcoming_sessions;
