"""What Sphinx makes the documentation with: the pages of this folder, the docstrings, and the options and traits."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docutils.nodes import SkipNode
from docutils.utils.math.latex2mathml import tex2mathml

import phi_magic

sys.path.insert(0, str(Path(__file__).parent))
import gallery
import reference

if TYPE_CHECKING:
    from docutils.nodes import math, math_block
    from sphinx.application import Sphinx

PAGES = Path(__file__).parent

project = "phi_magic"
author = copyright = "The phi_magic authors"  # noqa: A001  (the name that Sphinx reads)
version = release = phi_magic.__version__

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nb_execution_mode = "off"  # the notebooks are shown as they are saved; tests/kernel/test_examples.py runs them
nb_render_markdown_format = "gfm"  # with tables; an answer is no MyST, whose directives would act
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = project
html_favicon = "images/favicon.svg"
html_math_renderer = "mathml"

autodoc_member_order = "bysource"
napoleon_use_ivar = True  # attributes in a docstring and the members themselves: each is described once
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
# A reference that leads nowhere fails the build (make docs), but to what is documented elsewhere.
nitpick_ignore_regex = [
    ("py:class", r"\w+"),  # the standard library's and typing's names, as annotations write them
    ("py:class", r"(collections|np|numpy|os|pathlib|traitlets|typing|weakref)\..*"),
    ("py:class", r"phi_magic\.reply\.FinishReason|FinishReason"),  # an alias; its values are shown
]


def setup(app: Sphinx) -> None:
    app.add_html_math_renderer("mathml", inline_renderers=(_mathml, None), block_renderers=(_mathml_block, None))
    app.connect("source-read", reference.fill_in)
    app.connect("source-read", gallery.link)
    gallery.copy(PAGES.parent / "examples", PAGES / "examples")


def _mathml(translator: Any, node: math) -> None:
    """A formula as every browser draws it by itself; the usual way loads a program from elsewhere."""
    translator.body.append(tex2mathml(node.astext()))
    raise SkipNode


def _mathml_block(translator: Any, node: math_block) -> None:
    """A formula in a line of its own, as a notebook's answer has it."""
    translator.body.append(tex2mathml(node.astext(), as_block=True))
    raise SkipNode
