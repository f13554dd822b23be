"""`sqlmig docs` writes a correct page. It is the same for every role, and no name or comment can break its Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote

import pytest
from markdown_it import MarkdownIt
from psycopg import sql

from tests.support.project import SQL, Project

ODD = (Path(__file__).parent / "odd.sql").read_text()
# The grammar of a line in a diagram. `make mermaid` uses Mermaid itself.
NAME, WORD = (
    r'"[^"%\\\n\b]+"',
    r"[A-Za-z_\u00c0-\uffff][A-Za-z0-9_()\[\]\u00c0-\uffff]*",
)
DIAGRAM = re.compile(
    rf"erDiagram|    {NAME} \{{|        {WORD} {WORD}( [PFU]K(, [PFU]K)*)?|    \}}"
    rf"|    {NAME} \|[|o]--o[|{{] {NAME} : {NAME}"
)


@pytest.fixture
def odd(project: Project) -> Project:
    """Return a database with names and comments that are hard to show."""
    project.query(ODD)
    return project


def page_of(project: Project) -> str:
    return project.run("docs", "--schema", "Odd | Schema").out


def tables_of(page: str) -> list[list[list[str]]]:
    """Return the rendered tables of a page as rows of cells."""
    tables: list[list[list[str]]] = []
    for token in MarkdownIt("commonmark").enable("table").parse(page):
        if token.type == "table_open":
            tables.append([])
        elif token.type == "tr_open":
            tables[-1].append([])
        elif token.type == "inline" and token.level > 3:
            tables[-1][-1].append(
                "".join(
                    "\n" if t.type == "html_inline" else t.content
                    for t in token.children or ()
                )
            )
    return tables


def section(page: str, title: str) -> str:
    return page.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_column_is_listed_with_its_exact_comment(odd: Project) -> None:
    cells = {
        (row[0], row[-1])
        for table in tables_of(page_of(odd))
        if table[0][-1] == "comment"
        for row in table[1:]
    }
    expected = odd.query("""
        SELECT attname, coalesce(col_description(attrelid, attnum), '')
        FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid
        WHERE relnamespace = '"Odd | Schema"'::regnamespace AND relkind IN ('r', 'p', 'v', 'm') AND NOT relispartition
            AND attnum > 0
    """)
    assert len(expected) > 30
    for name, comment in expected:
        assert (name, "\n".join(line.strip() for line in comment.splitlines())) in cells


def test_all_rows_of_a_table_have_the_same_number_of_cells(odd: Project) -> None:
    tables = tables_of(page_of(odd))
    assert {len({len(row) for row in table}) for table in tables} == {1}
    assert sum(map(len, tables)) == page_of(odd).count("\n| ") - len(tables)


def test_comments_do_not_create_headings_lists_or_fences(odd: Project) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(page_of(odd))
    headings = [
        tokens[n + 1].content
        for n, token in enumerate(tokens)
        if token.type == "heading_open"
    ]
    assert headings[:3] == ["Schema Odd \\| Schema", "Composite", "Quoted Table"]
    assert (
        len(headings) == 1 + 11 + 2 + 2
    )  # the schema, its tables and views, functions and types
    assert [token.info for token in tokens if token.type == "fence"] == [
        "mermaid",
        "sql",
        "sql",
    ]
    assert not [
        token
        for token in tokens
        if token.type in ("html_block", "ordered_list_open", "link_open")
    ]


def test_every_contents_link_points_to_a_heading(odd: Project) -> None:
    for page in (page_of(odd), (SQL / "README.md").read_text()):
        tokens = MarkdownIt("commonmark").enable("table").parse(page)
        anchors = set()
        links = []
        for n, token in enumerate(tokens):
            if token.type == "heading_open":
                title = "".join(part.content for part in tokens[n + 1].children or ())
                # GitHub builds anchors like this.
                kept = re.sub(r"[^\w\- ]", "", title.lower())
                anchors.add("#" + kept.replace(" ", "-"))
            links += [part for part in token.children or () if part.type == "link_open"]
        assert len(links) >= 10
        assert {unquote(str(link.attrs["href"])) for link in links} <= anchors
        assert page.index("| section |") < page.index("```mermaid")


def test_diagram_matches_mermaid_grammar(odd: Project) -> None:
    for page in (page_of(odd), (SQL / "README.md").read_text()):
        diagram = page.partition("```mermaid\n")[2].partition("```")[0]
        assert len(diagram.splitlines()) > 40
        for line in diagram.splitlines():
            assert DIAGRAM.fullmatch(line), line


def test_cardinality_follows_nullability_and_uniqueness(odd: Project) -> None:
    page = page_of(odd)
    for relation in (
        '"Composite" |o--o{ "child" : "x, y"',
        '"Quoted Table" |o--o| "child" : "q"',
        '"child" ||--o| "x\uff05y\u201dz\uff3cw" : "id"',
        '"other.far" ||--o{ "near" : "far_id"',
        '"parted" |o--o{ "to_parted" : "id, at"',
    ):
        assert f"    {relation}\n" in page
    assert page.count("--o") == 7  # none for a foreign key that a partition inherits


def test_page_lists_effects_of_deleting_a_row(
    odd: Project, therapyflow: Project
) -> None:
    assert "- sets self of child to null\n" in section(page_of(odd), "child")
    assert "- is refused while rows of near" not in page_of(
        odd
    )  # a table of another schema
    therapyflow.query('DROP SCHEMA "Odd | Schema", other CASCADE')
    therapyflow.run("up", "--to", "10")
    organizations = section(therapyflow.run("docs").out, "organizations")
    assert "- sets org_id of audit_logs to null\n" in organizations
    assert (
        "- removes the rows of therapists that reference it (org_id)\n" in organizations
    )
    everything = "clinical_notes, consent_records, patients, session_recordings, sessions, therapists, wearable_data"
    assert f"- removes, in total, rows of {everything}\n" in organizations
    therapists = section(therapyflow.run("docs").out, "therapists")
    assert (
        "- is refused at COMMIT while rows of sessions reference it (org_id, therapist_id)\n"
        in therapists
    )
    assert "- sets assigned_therapist_id of patients to null\n" in therapists


def test_partitions_are_listed_under_their_table(odd: Project) -> None:
    parted = section(page_of(odd), "parted")
    assert "Partitioned by `RANGE (at)`" in parted
    assert "- parted_2a: `DEFAULT`, of parted_2\n" in parted
    assert "\n## parted_1" not in page_of(odd)


def test_types_views_and_functions_are_listed(odd: Project) -> None:
    page = page_of(odd)
    assert "| Mood \\| | `enum: 'so \\| so', 'it''s', 'ha\"ppy'` |" in page
    assert (
        "`domain over text NOT NULL DEFAULT 'a\\|b'::text CHECK (VALUE ~ '^[^\\|@]+@.+$'::text)`"
        in page
    )
    assert "## mat (materialized view)" in page
    assert "sql, stable, security definer" in page
    assert "span_multirange(" not in page  # the range type created it


def test_page_is_identical_for_every_role_and_setting(odd: Project) -> None:
    page = page_of(odd)
    database = odd.query("SELECT quote_ident(current_database())")[0][0]
    for setting in (
        "DateStyle = 'German'",
        "TimeZone = 'Asia/Kolkata'",
        "IntervalStyle = 'iso_8601'",
        'search_path = "Odd | Schema", other',
        "quote_all_identifiers = on",
        "default_transaction_read_only = on",
    ):
        odd.query(f"ALTER DATABASE {database} SET {setting}")
    assert page_of(odd) == page
    assert odd.run("docs").out == page  # the schema is now first on the search path
    assert odd.run("--schema", "Odd | Schema", "docs").out == page


def test_functions_in_schema_are_listed_but_never_run(project: Project) -> None:
    project.query("""
        CREATE FUNCTION format(text, name, text) RETURNS text LANGUAGE sql AS $x$SELECT 'fake'$x$;
        CREATE FUNCTION quote_ident(name) RETURNS text LANGUAGE plpgsql AS 'BEGIN RAISE ''it ran''; END';
    """)
    page = project.run("docs").out
    assert "| `quote_ident(name)` |" in page
    assert "fake" not in page


@pytest.mark.parametrize(
    "names",
    [
        ("pk\u00e9", "fk\u65e5", "uk-x", "PK"),
        ("\u3000", "\u2003", "\ufeff"),
        ('"', "{}", "\u0008", "%", "`", " "),
        ("direction LR", "title", "\U0001f642", "1"),
    ],
)
def test_any_name_becomes_a_valid_mermaid_word(
    project: Project, names: tuple[str, ...]
) -> None:
    for name in names:
        project.query(
            sql.SQL("CREATE TABLE {0} ({0} int)")
            .format(sql.Identifier(name))
            .as_string()
        )
    lines = (
        project.run("docs")
        .out.partition("```mermaid\n")[2]
        .partition("```")[0]
        .splitlines()
    )
    assert len(lines) == 1 + 3 * len(names)
    for line in lines:
        assert DIAGRAM.fullmatch(line), line
        assert not re.match(r" +integer [pfu]k\b", line, re.ASCII | re.IGNORECASE)


@pytest.mark.parametrize(
    "comment",
    ["2024. A year", "10) ten", "- x", "+ x", "=====", "a\n====", "    code", "<!-- x"],
)
def test_table_comment_is_rendered_as_one_paragraph(
    project: Project, comment: str
) -> None:
    project.query(
        sql.SQL("CREATE TABLE t (); COMMENT ON TABLE t IS {}")
        .format(comment)
        .as_string()
    )
    tokens = MarkdownIt("commonmark").parse(section(project.run("docs").out, "t"))
    paragraph = [
        "paragraph_open",
        "inline",
        "paragraph_close",
    ]  # the comment, and the note about row level security
    assert [token.type for token in tokens] == paragraph * 2


def test_unenforced_foreign_key_is_not_listed_as_deleting_rows(
    project: Project,
) -> None:
    if project.query("SHOW server_version_num")[0][0] < "180000":
        pytest.skip("keys are always enforced before PostgreSQL 18")
    project.query("CREATE TABLE a (i int PRIMARY KEY)")
    project.query("CREATE TABLE b (i int REFERENCES a ON DELETE CASCADE NOT ENFORCED)")
    assert "Deleting" not in project.run("docs").out


def test_foreign_key_to_partition_is_listed_under_its_parent_table(
    project: Project,
) -> None:
    project.query("CREATE TABLE a (i int PRIMARY KEY) PARTITION BY RANGE (i)")
    project.query("CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (1) TO (9)")
    project.query("CREATE TABLE b (i int REFERENCES a1 ON DELETE CASCADE)")
    assert "- removes the rows of b that reference it (i)\n" in project.run("docs").out


def test_empty_schema_has_empty_page_and_missing_schema_is_an_error(
    project: Project,
) -> None:
    assert project.run("docs").out == "# Schema public\n"
    assert "cannot be shown" in project.run("docs", "--schema", "\udcff", code=2).err
    assert (
        "there is no schema nowhere"
        in project.run("docs", "--schema", "nowhere", code=2).err
    )
    project.query("DROP SCHEMA public")
    assert "--schema" in project.run("docs", code=2).err


def test_ledger_is_left_out_of_the_page(project: Project) -> None:
    project.write(up_1_x="CREATE TABLE t (id int);")
    project.run("up")
    assert "schema_migrations" not in project.run("docs").out
    assert "## t\n" in project.run("docs").out


def test_page_lists_privileges_and_row_level_security(project: Project) -> None:
    project.query("""
        CREATE TABLE t (a int, b int);
        GRANT SELECT, UPDATE (b, a), INSERT ON t TO PUBLIC;
        ALTER TABLE t ADD "c, d" int;
        GRANT UPDATE ("c, d") ON t TO pg_monitor WITH GRANT OPTION;
        CREATE VIEW v AS SELECT a FROM t;
        GRANT ALL ON v TO PUBLIC;
        CREATE TABLE closed ();
        ALTER TABLE closed ENABLE ROW LEVEL SECURITY;
        CREATE FUNCTION f() RETURNS int LANGUAGE sql RETURN 1;
        CREATE FUNCTION g() RETURNS int LANGUAGE sql RETURN 1;
        REVOKE ALL ON FUNCTION g FROM PUBLIC;
    """)
    page = project.run("docs").out
    assert "Row level security is off." in section(page, "t")
    assert "- PUBLIC: INSERT, SELECT, UPDATE (a, b)\n" in section(page, "t")
    assert '- pg_monitor: UPDATE ("c, d") WITH GRANT OPTION\n' in section(page, "t")
    assert "Row level security is on, and no policy lets anybody in." in section(
        page, "closed"
    )
    assert "PUBLIC" not in section(page, "closed")
    assert "- PUBLIC: ALL\n" in section(page, "v (view)")
    assert "| `f()` | `integer` | sql | PUBLIC |  |" in page
    assert "| `g()` | `integer` | sql |  |  |" in page
