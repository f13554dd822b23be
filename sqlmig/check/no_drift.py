"""Differences between a database and its files that are not drift. Each was once a false alarm."""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Any

from sqlmig.check.catalog import Entry, Key
from sqlmig.check.privileges import Access, difference_in_words, read_access
from sqlmig.core.ledger import TABLE
from sqlmig.core.text import regex_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlmig.check.catalog import Catalog, Difference, Differences
    from sqlmig.core.ledger import Ledger
    from sqlmig.core.sqlfile import SqlFile

# The objects that a file's default privileges are for, if it names them, and the kinds that this includes.
_DEFAULT_PRIVILEGES = re.compile(
    rb"\bdefault\s+privileges\b(?:[^;]*?\bon\s+(tables|sequences|functions|types))?"
)
_KINDS = {
    b"tables": ("table", "view", "materialized view", "foreign table"),
    b"sequences": ("sequence",),
    b"functions": ("function", "procedure", "aggregate"),
    b"types": ("type", "enum", "domain", "composite type"),
}
_EXTENSION_WITH_SCHEMA = re.compile(
    rb"\bcreate\s+extension\s+(?:if\s+not\s+exists\s+)?([\w\"-]+)[^;]*?\bschema\b"
)
# The commands that create an object of a kind.
_TAGS = {
    "table": {"CREATE TABLE", "CREATE TABLE AS", "SELECT INTO"},
    "view": {"CREATE VIEW"},
    "materialized view": {"CREATE MATERIALIZED VIEW"},
    "foreign table": {"CREATE FOREIGN TABLE"},
    "sequence": {"CREATE SEQUENCE"},
    "function": {"CREATE FUNCTION"},
    "procedure": {"CREATE PROCEDURE"},
    "schema": {"CREATE SCHEMA"},
}
_LAST_NAME = re.compile(r'(.*)\.(?:"(?:[^"]|"")*"|[^".]*)')


def with_owner(catalog: Catalog, role: str, owner: str) -> Catalog:
    """Return the catalog as if the owner had created a role's objects. Both names are quoted for SQL."""
    if role == owner:
        return catalog

    owned = {}
    for key, entry in catalog.items():
        name = key.name
        if key.kind == "default privileges":
            name = name.replace(f"of {role} in", f"of {owner} in", 1)
        properties = {
            title: _with_owner(title, value, role, owner)
            for title, value in entry.properties.items()
        }
        owned[Key(key.kind, name)] = entry._replace(properties=properties)
    return owned


def _with_owner(title: str, value: Any, role: str, owner: str) -> Any:
    """Return a property as if the owner had created the object."""
    if title == "owner":
        return owner if value == role else value
    if title.endswith("grants") and value is not None:
        return sorted(_regranted(text, role, owner) for text in value)
    return value


def _regranted(text: str, role: str, owner: str) -> str:
    access = read_access(text)
    if access is None:
        return text
    grantee = owner if access.grantee == role else access.grantee
    grantor = owner if access.grantor == role else access.grantor
    return str(Access(grantee, access.letters, grantor))


def without_what_differs_by_itself(catalog: Catalog) -> Catalog:
    """Return the catalog without details that may differ even if no one changed them.

    Lines of bodies and comments end in a line feed only. A materialized view is filled later.
    """
    plain = {}
    for key, entry in catalog.items():
        properties: dict[str, Any] = dict(entry.properties)
        if key.kind == "materialized view":
            properties.pop("filled", None)
        for title in ("definition", "comment"):
            value = properties.get(title)
            if isinstance(value, str):
                properties[title] = value.replace("\r\n", "\n")
        plain[key] = Entry(properties, entry.schema)
    return plain


def take_out_ledger(catalog: Catalog, ledger: Ledger) -> None:
    """Remove the ledger and its parts. An event trigger of the platform may have changed it, as each new table."""
    for key, entry in list(catalog.items()):
        table = _table_of(key, entry)
        if entry.schema == ledger.schema and table.endswith(f".{TABLE}"):
            del catalog[key]


def take_out_partitions(expected: Catalog, found: Catalog) -> list[str]:
    """Remove the partitions that the files did not create from the objects found, if the files created their table.

    Returns a note for each such table.
    """
    table_of = _partitions_made_at_run_time(expected, found)
    for key in list(found):
        if _table_of(key, found[key]) in table_of:
            del found[key]
    return [
        f"table {table}: partitions made at run time: {count}"
        for table, count in sorted(Counter(table_of.values()).items())
    ]


def _partitions_made_at_run_time(expected: Catalog, found: Catalog) -> dict[str, str]:
    """Map each partition that was found but not expected to the expected table that it belongs to."""
    parent_of = {}
    for key, entry in found.items():
        bound = entry.properties.get("partition bound")
        if bound and key.kind == "table" and key not in expected:
            parent_of[key.name] = entry.properties["parents"][0]

    table_of = {}
    for partition in parent_of:
        table = partition
        while table in parent_of:  # a partition of a partition
            table = parent_of[table]
        if Key("table", table) in expected:
            table_of[partition] = table
    return table_of


def _table_of(key: Key, entry: Entry) -> str:
    """Return the table that an object is or belongs to. Without a table, the result is not a table's name."""
    if key.kind == "table":
        return key.name
    if key.kind == "index":
        return str(entry.properties["table"])
    return _without_last_name(key.name)


def _without_last_name(name: str) -> str:
    """Return a name without its last part: public.t for public.t.a."""
    match = _LAST_NAME.fullmatch(name)
    return match[1] if match else ""


class Reasons:
    """Explanations for a difference, other than a change by hand."""

    def __init__(
        self,
        files: Sequence[SqlFile],
        expected: Catalog,
        found: Catalog,
        stand_in: str = "",
    ) -> None:
        """Collect the reasons from the files, and from objects in the database that they did not create.

        stand_in: the role, quoted for SQL, that ran the files in the place of their owner.
        """
        self._stand_in = stand_in
        self._kinds = _kinds_with_changed_defaults(files)
        self._extensions_with_schema = _extensions_with_schema(files)
        event_triggers = [
            entry.properties
            for key, entry in found.items()
            if key.kind == "event trigger" and key not in expected
        ]
        self._called_by_platform = {each["function"] for each in event_triggers}
        # What the event triggers of the platform do to each new object of a kind, as far as their functions say so.
        self._done_by_platform: set[tuple[str, str]] = set()
        for properties in event_triggers:
            for kind in _kinds_of_event_trigger(properties):
                for action in properties["does"] or ():
                    self._done_by_platform.add((kind, action))
        self._added_by_platform: set[Key] = set()
        if ("table", "policies") in self._done_by_platform:
            self._added_by_platform = _policies_on_all_tables(expected, found)
        self._changed_alike = _changed_alike(expected, found)

    def of_change(self, difference: Difference) -> str | None:
        """Return the reason why a property may differ, or None."""
        kind, name = difference.key
        title = difference.property
        if title == "not-null name":
            return "an upgrade to PostgreSQL 18 may be why"
        if kind == "extension":
            return self._of_extension(name, title)
        if title.endswith("grants"):
            reason = self._of_grants(kind, title, difference)
            if reason:
                return reason
        return self._of_platform(kind, title, difference)

    def _of_grants(self, kind: str, title: str, difference: Difference) -> str | None:
        if title == "grants" and kind in self._kinds:
            # The defaults changed between objects, and the catalog does not show which applied to an object.
            return "a file changes default privileges, which may be why"
        if self._is_about_stand_in(difference):
            role = self._stand_in
            return f"what {role} may do is not compared, because it ran the files; with --scratch embedded: it is"
        return None

    def _of_platform(self, kind: str, title: str, difference: Difference) -> str | None:
        done = title.split()[-1]  # also the grants of a row type
        if title == "row level security":
            # As Supabase's "Enable automatic RLS" does.
            if difference.now and (kind, title) in self._done_by_platform:
                return "an event trigger of the database turns it on"
        elif (kind, done) in self._done_by_platform and (
            kind,
            title,
        ) in self._changed_alike:
            return f"each {kind} has it, and an event trigger of the database changes {done}"
        return None

    def _is_about_stand_in(self, difference: Difference) -> bool:
        """Check whether grants differ only for the role that owned the objects of the scratch database."""
        if not self._stand_in:
            return False
        was = self._without_stand_in(difference.was)
        return not difference_in_words(was, self._without_stand_in(difference.now))

    def _without_stand_in(self, grants: Iterable[str] | None) -> list[str]:
        kept = []
        for text in grants or ():
            access = read_access(text)
            if access is None or access.grantee != self._stand_in:
                kept.append(text)
        return kept

    def _of_extension(self, name: str, title: str) -> str | None:
        if title == "version":
            return "it follows the server"
        if title == "schema" and name not in self._extensions_with_schema:
            return "no file says which"
        return None

    def of_extra(self, key: Key) -> str | None:
        """Return the reason why the database may have an object that the files do not create, or None."""
        if key.kind == "function" and key.name in self._called_by_platform:
            return "an event trigger of the database calls it"
        if key in self._added_by_platform:
            return (
                "each table has it, and an event trigger of the database adds policies"
            )
        return None


def _kinds_of_event_trigger(properties: Mapping[str, Any]) -> list[str]:
    """Return the kinds of objects whose creation an event trigger acts on."""
    if properties["enabled"] == "D" or properties["event"] != "ddl_command_end":
        return []
    tags = properties["tags"]
    if not tags:
        return [*_TAGS]
    return [kind for kind, of_kind in _TAGS.items() if not of_kind.isdisjoint(tags)]


def _policies_on_all_tables(expected: Catalog, found: Catalog) -> set[Key]:
    """Return the policies that no file creates, if all tables of the files have the same policy of that name."""
    tables = {key.name for key in expected if key.kind == "table"}
    alike: dict[str, list[Key]] = {}
    for key, entry in found.items():
        table = _table_of(key, entry)
        if key.kind == "policy" and key not in expected and table in tables:
            name = key.name.removeprefix(table)
            alike.setdefault(f"{name} {sorted(entry.properties.items())}", []).append(
                key
            )
    added = set()
    for keys in alike.values():
        if len(keys) == len(tables):
            added.update(keys)
    return added


def _changed_alike(expected: Catalog, found: Catalog) -> set[tuple[str, str]]:
    """Return the kinds of objects, with those of owner and grants that differ from the files alike on each object."""
    changes: dict[tuple[str, str], set[str]] = {}
    for key in expected.keys() & found.keys():
        now = found[key].properties
        for title, was in expected[key].properties.items():
            if title.endswith("grants"):
                change = difference_in_words(was, now[title])
            elif title == "owner":
                change = f"{was} {now[title]}" if was != now[title] else ""
            else:
                continue
            changes.setdefault((key.kind, title), set()).add(change)
    return {each for each, how in changes.items() if len(how) == 1}


def excuse(differences: Differences, reasons: Reasons) -> None:
    """Turn the differences that have an explanation other than a change by hand into notes."""
    changed = []
    for difference in differences.changed:
        reason = reasons.of_change(difference)
        if reason:
            differences.notes.append(f"{difference}; {reason}")
        else:
            changed.append(difference)
    differences.changed = changed

    left = []
    for key in differences.left:
        reason = reasons.of_extra(key)
        if reason:
            differences.notes.append(f"extra {' '.join(key)}; {reason}")
        else:
            left.append(key)
    differences.left = left


def _extensions_with_schema(files: Iterable[SqlFile]) -> set[str]:
    names: set[str] = set()
    for file in files:
        for name in _EXTENSION_WITH_SCHEMA.findall(file.text.lower()):
            names.add(name.decode(errors="replace").strip('"'))
    return names


def _kinds_with_changed_defaults(files: Iterable[SqlFile]) -> set[str]:
    words = set()
    for file in files:
        text = file.text.lower().replace(b"routines", b"functions")
        words.update(_DEFAULT_PRIVILEGES.findall(text))
    kinds: set[str] = set()
    for word, meant in _KINDS.items():
        if word in words or b"" in words:
            kinds.update(meant)
    return kinds


def take_out_ignored(catalog: Catalog, patterns: Sequence[str]) -> None:
    """Remove objects that match a pattern (``*`` and ``?``) by name, or kind and name, and what belongs to them."""
    if not patterns:
        return

    fits = re.compile("|".join(map(regex_of, patterns)), re.DOTALL)

    ignored = set()
    for key in catalog:
        if fits.fullmatch(key.name) or fits.fullmatch(" ".join(key)):
            ignored.add(key)
    names = {key.name for key in ignored}
    for key in list(catalog):
        if key in ignored or _table_of(key, catalog[key]) in names:
            del catalog[key]
