"""Provide a server like Supabase's, with either kind of default grants, and requests like PostgREST's."""

from __future__ import annotations

import json
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import psycopg
import pytest

from sqlmig import embedded
from sqlmig.cli import command
from tests.support.project import SQL, url_of
from tests.support.rows import organization
from tests.support.servers import FAST, Server, data_directory

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
    with embedded.server(directory, FAST) as url:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(ROLES)
        yield url


class Template(NamedTuple):
    """A database with the project's tables and two organizations, to be copied."""

    server: Server
    name: str
    ours: dict[str, UUID]
    theirs: dict[str, UUID]


@pytest.fixture(scope="session")
def templates(supabase: str) -> Iterator[dict[str, Template]]:
    """Yield a template for each kind of default grants."""
    with ExitStack() as stack:
        server = stack.enter_context(closing(Server(supabase)))
        templates = {}
        for world, grants in WORLDS.items():
            owner = stack.enter_context(
                server.database("world", owner="supabase_postgres")
            )
            owner.autocommit = True
            owner.execute(grants or "SELECT")
            assert command(["-d", url_of(owner), "--dir", str(SQL), "up"]) == 0
            ours, theirs = organization(owner, "ours"), organization(owner, "theirs")
            templates[world] = Template(server, owner.info.dbname, ours, theirs)
            owner.close()  # a database in use cannot be copied
        yield templates


@contextmanager
def fresh(template: Template) -> Iterator[Platform]:
    """Yield a copy of a template."""
    server = template.server
    with server.database("platform", template.name, "supabase_postgres") as owner:
        owner.autocommit = True
        with psycopg.connect(
            server.url, dbname=owner.info.dbname, user="authenticator", autocommit=True
        ) as api:
            yield Platform(url_of(owner), owner, api, template.ours, template.theirs)


@pytest.fixture(scope="module", params=WORLDS)
def platform(
    request: pytest.FixtureRequest, templates: dict[str, Template]
) -> Iterator[Platform]:
    """Yield a shared database for each kind of default grants. Its requests are rolled back."""
    with fresh(templates[request.param]) as platform:
        yield platform


@pytest.fixture
def own_platform(templates: dict[str, Template]) -> Iterator[Platform]:
    """Yield a database for one test only."""
    with fresh(templates["everything granted"]) as platform:
        yield platform
