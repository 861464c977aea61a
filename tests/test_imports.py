"""Loading the extension is instant: what is heavy is imported when it is first needed."""

from __future__ import annotations

import subprocess
import sys

HEAVY = [
    "anywidget",
    "huggingface_hub",
    "ipywidgets",
    "jinja2",
    "jsonschema_rs",
    "llama_cpp",
    "llguidance",
    "markdown_it",
    "numpy",
    "pydantic",
]


def run(code):
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout.split()


def test_load_ext_imports_nothing_heavy():
    assert not run(
        "import sys\n"
        "from IPython.core.interactiveshell import InteractiveShell\n"
        "InteractiveShell.instance().run_line_magic('load_ext', 'phi_magic')\n"
        f"print(*[name for name in {HEAVY} if name in sys.modules])"
    )


def test_the_package_imports_without_ipython():
    assert not run("import sys, phi_magic; print(*[name for name in ['IPython', 'traitlets'] if name in sys.modules])")
