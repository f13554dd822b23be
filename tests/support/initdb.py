"""Make the data directories of private servers in a tenth of the time."""

from __future__ import annotations

import os
import shlex
from typing import TYPE_CHECKING

from sqlmig import embedded
from sqlmig.embedded.privileges import server_user

if TYPE_CHECKING:
    from pathlib import Path

# What follows -D names the template: the same arguments give the same files. mkdir succeeds for one caller only.
_SCRIPT = """\
#!/bin/sh
# Copy what the real initdb made of the same arguments before, or call it.
[ "$1" = -D ] || exec {initdb} "$@"
directory=$2
shift 2
template={templates}/$(echo "$*" | tr -c 'A-Za-z0-9\\n' _)
cp -R "$template/." "$directory" 2>/dev/null && exit
{initdb} -D "$directory" "$@" || exit
if mkdir "$template.begun" 2>/dev/null; then
    cp -R "$directory" "$template.new" && mv "$template.new" "$template"
fi
"""


def programs_with_fast_initdb(directory: Path) -> Path:
    """Return a directory of links to a server's programs, with an initdb that copies the result of its first call.

    A suite calls initdb a hundred times, and each call would take half a second of a processor.
    """
    templates = directory / "templates"
    templates.mkdir(parents=True)
    os.chown(templates, *server_user())
    programs = directory / "bin"
    programs.mkdir()
    real = embedded.programs()
    for program in real.iterdir():
        if program.name != "initdb":
            (programs / program.name).symlink_to(program)
    script = programs / "initdb"
    initdb = shlex.quote(str(real / "initdb"))
    script.write_text(
        _SCRIPT.format(initdb=initdb, templates=shlex.quote(str(templates)))
    )
    script.chmod(0o755)
    return programs
