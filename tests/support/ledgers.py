"""The ledgers of other tools."""

from __future__ import annotations

THEIRS = {
    "golang-migrate": (
        (
            "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);"
            "INSERT INTO schema_migrations VALUES (7, false)"
        ),
        [
            "the ledger of golang-migrate",
            'ALTER TABLE "public"."schema_migrations" RENAME TO',
            "sqlmig stamp 7",
        ],
    ),
    "golang-migrate in the middle of a file": (
        (
            "CREATE TABLE schema_migrations (version bigint NOT NULL PRIMARY KEY, dirty boolean NOT NULL);"
            "INSERT INTO schema_migrations VALUES (7, true)"
        ),
        ["the ledger of golang-migrate", "Version 7 is marked dirty"],
    ),
    "dbmate": (
        (
            "CREATE TABLE schema_migrations (version varchar(128) PRIMARY KEY);"
            "INSERT INTO schema_migrations VALUES ('20240101000000'), ('20240102000000')"
        ),
        ["the ledger of dbmate or Rails", "sqlmig stamp 20240102000000"],
    ),
    "rails": (
        "CREATE TABLE schema_migrations (version varchar NOT NULL PRIMARY KEY)",
        ["the ledger of dbmate or Rails", "RENAME TO", "  sqlmig up\n"],
    ),
    "sqlx": (
        (
            "CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT NOT NULL,"
            " installed_on TIMESTAMPTZ NOT NULL DEFAULT now(), success BOOLEAN NOT NULL, checksum BYTEA NOT NULL,"
            " execution_time BIGINT NOT NULL);"
            "INSERT INTO _sqlx_migrations VALUES (3, 'x', now(), true, '', 1)"
        ),
        ["this database is managed by sqlx", "sqlmig stamp 3"],
    ),
    "goose": (
        (
            "CREATE TABLE goose_db_version (id serial, version_id bigint, is_applied boolean, tstamp timestamp);"
            "INSERT INTO goose_db_version (version_id, is_applied) VALUES (3, true)"
        ),
        ["managed by goose", "`sqlmig import DIR`", "--ledger-schema"],
    ),
    "flyway": (
        "CREATE TABLE flyway_schema_history (installed_rank int, version varchar(50), success boolean)",
        ["managed by Flyway", "`sqlmig import DIR`"],
    ),
    "sql-migrate": (
        "CREATE TABLE gorp_migrations (id text, applied_at timestamptz)",
        ["managed by sql-migrate", "`sqlmig import DIR`"],
    ),
    "alembic": (
        "CREATE TABLE alembic_version (version_num varchar(32))",
        ["managed by Alembic", "pg_dump --schema-only", "`sqlmig stamp`"],
    ),
    "prisma": (
        "CREATE TABLE _prisma_migrations (id varchar(36), migration_name text)",
        ["managed by Prisma", "pg_dump --schema-only"],
    ),
    "django": (
        "CREATE TABLE django_migrations (id bigint, app text, name text)",
        ["managed by Django", "pg_dump --schema-only"],
    ),
    "node-pg-migrate": (
        "CREATE TABLE pgmigrations (id int, name text, run_on timestamp)",
        ["managed by node-pg-migrate", "pg_dump --schema-only"],
    ),
    "ecto": (
        (
            "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, inserted_at timestamp(0));"
            "INSERT INTO schema_migrations VALUES (20240102000000, now())"
        ),
        ["the ledger of Ecto", "sqlmig stamp 20240102000000"],
    ),
    "a time without a zone": (
        "CREATE TABLE schema_migrations (version bigint PRIMARY KEY, name text, checksum text, applied_at timestamp)",
        [
            "public.schema_migrations is not sqlmig's ledger",
            "RENAME TO",
            "  sqlmig up\n",
            "--ledger-schema",
        ],
    ),
    "versions of several lengths": (
        "CREATE TABLE schema_migrations (version text); INSERT INTO schema_migrations VALUES ('9'), ('10'), ('x')",
        ["the ledger of dbmate or Rails", "sqlmig stamp 10"],
    ),
    "an unknown tool": (
        "CREATE TABLE schema_migrations (version bigint, name text, checksum bytea, applied_at timestamptz)",
        [
            "public.schema_migrations is not sqlmig's ledger",
            "--ledger-schema",
            "left untouched",
        ],
    ),
    "an unknown tool with text versions": (
        "CREATE TABLE schema_migrations (version text, name text, checksum text, applied_at text)",
        ["public.schema_migrations is not sqlmig's ledger"],
    ),
}
