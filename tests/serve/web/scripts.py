"""The page's own modules under Node.js."""

import json
import subprocess
from pathlib import Path
from typing import Any

_BODY = """
import { readFileSync } from "node:fs";
const load = (name) => import(new URL(name, %(folder)s));
const input = JSON.parse(readFileSync(0, "utf8"));
const said = (work) => { try { return work(); } catch (error) { return { error: error.message }; } };
const run = async () => { %(body)s };
process.stdout.write(JSON.stringify(await run()));
"""


def under_node(site: Path, body: str, value: Any) -> Any:
    """What JavaScript returns of ``input``, which is ``value``; it may ``load`` modules of the site.

    ``said(work)`` is what ``work`` returns, or ``{error: its message}``.
    """
    script = _BODY % {"folder": json.dumps(f"{site.as_uri()}/"), "body": body}
    command = ["node", "--input-type=module", "--eval", script]
    done = subprocess.run(command, input=json.dumps(value), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
