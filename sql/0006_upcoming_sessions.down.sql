-- Undoes 0006: removes the view.

DROP VIEW upcoming_sessions;
