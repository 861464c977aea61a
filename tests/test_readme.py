"""What the README says of options is what the traits say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROJECT = Path(__file__).parent.parent


def test_its_tables_are_those_of_the_traits():
    command = [sys.executable, str(PROJECT / "tools" / "options_table.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
