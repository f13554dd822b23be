"""Provide a server like Supabase's, with either kind of default grants, and requests like PostgREST's."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from sqlmig import embedded
from sqlmig.cli import command
from tests.support.project import NUMBERS, SQL, url_of
from tests.support.rows import organization
from tests.support.servers import data_directory

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

WORLDS = {
    "nothing granted": "",
    "everything granted": """
    ALTER DEFAULT PRIVILEGES FOR ROLE supabase_postgres IN SCHEMA public GRANT ALL ON TABLES TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES FOR ROLE supabase_postgres IN SCHEMA public GRANT ALL ON FUNCTIONS TO anon, authenticated, service_role;
    ALTER DEFAULT PRIVILEGES FOR ROLE supabase_postgres IN SCHEMA public GRANT ALL ON SEQUENCES TO anon, authenticated, service_role;
""",
}
ROLES = """
    DO $$ BEGIN
        PERFORM pg_advisory_xact_lock(1);
        IF to_regrole('anon') IS NULL THEN
            CREATE ROLE anon; CREATE ROLE authenticated; CREATE ROLE service_role BYPASSRLS;
            CREATE ROLE authenticator LOGIN NOINHERIT; GRANT anon, authenticated, service_role TO authenticator;
            CREATE ROLE supabase_postgres LOGIN CREATEDB CREATEROLE BYPASSRLS;
            GRANT anon, authenticated, service_role TO supabase_postgres;
            GRANT SET ON PARAMETER session_replication_role TO supabase_postgres;
        END IF;
    END $$
"""


@dataclass(frozen=True)
class Platform:
    """A database with the project's tables and two organizations, and connections to it."""

    url: str
    owner: psycopg.Connection[Any]
    api: psycopg.Connection[Any]
    ours: dict[str, UUID]
    theirs: dict[str, UUID]

    @contextmanager
    def request(
        self, role: str = "authenticated", claims: object = None
    ) -> Iterator[psycopg.Connection[Any]]:
        """Yield a connection in the same transaction that PostgREST opens for a request, and roll it back."""
        with self.api.transaction(force_rollback=True):
            self.api.execute(f"SET LOCAL ROLE {role}")
            if claims is not None:
                text = claims if isinstance(claims, str) else json.dumps(claims)
                self.api.execute(
                    "SELECT set_config('request.jwt.claims', %s, true)", [text]
                )
            yield self.api

    def own(self) -> dict[str, Any]:
        """Return the claims of a user of our organization."""
        return {
            "role": "authenticated",
            "app_metadata": {"org_id": str(self.ours["organizations"])},
        }

    def other(self) -> dict[str, Any]:
        """Return the claims of a user of their organization."""
        return {
            "role": "authenticated",
            "app_metadata": {"org_id": str(self.theirs["organizations"])},
        }


@pytest.fixture(scope="session")
def supabase(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield the URL of a separate server, because Supabase's roles must not exist on the shared server."""
    directory = data_directory("supabase", tmp_path_factory)
    with embedded.server(directory, {"fsync": "off", "full_page_writes": "off"}) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(ROLES)
        yield url


@contextmanager
def fresh(url: str, world: str) -> Iterator[Platform]:
    """Yield a new database with one kind of default grants."""
    name = f"platform_{os.getpid()}_{next(NUMBERS)}"
    with psycopg.connect(url, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
        admin.execute(f"CREATE DATABASE {name} OWNER supabase_postgres")
        try:
            with (
                psycopg.connect(
                    url, dbname=name, user="supabase_postgres", autocommit=True
                ) as owner,
                psycopg.connect(
                    url, dbname=name, user="authenticator", autocommit=True
                ) as api,
            ):
                owner.execute(WORLDS[world] or "SELECT")
                assert command(["-d", url_of(owner), "--dir", str(SQL), "up"]) == 0
                yield Platform(
                    url_of(owner),
                    owner,
                    api,
                    organization(owner, "ours"),
                    organization(owner, "theirs"),
                )
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="module", params=WORLDS)
def platform(request: pytest.FixtureRequest, supabase: str) -> Iterator[Platform]:
    """Yield a shared database for each kind of default grants. Its requests are rolled back."""
    with fresh(supabase, request.param) as platform:
        yield platform


@pytest.fixture
def own_platform(supabase: str) -> Iterator[Platform]:
    """Yield a database for one test only."""
    with fresh(supabase, "everything granted") as platform:
        yield platform
